"""Permanent connection errors are raised at once with the host; transient ones are waited out."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import httpx
import pytest

from mayfly.models.errors import BadRequest, RetryableError, Unreachable
from mayfly.together.connection import Connection
from mayfly.together.errors import unreachable
from mayfly.together.factory import connect
from mayfly.together.retry import with_retries

HERE = Connection.from_env({"TOGETHER_API_KEY": "local", "TOGETHER_BASE_URL": "http://127.0.0.1:1"})


@contextmanager
def closed_port() -> Iterator[int]:
    """Yield a port without a listener."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def test_refusing_host_is_named_at_once() -> None:
    with closed_port() as port:
        there = replace(HERE, base_url=f"http://127.0.0.1:{port}")

        with pytest.raises(BadRequest, match=r"127\.0\.0\.1 refuses connections"):
            connect("v2", there).__enter__()


def caused_by(cause: BaseException) -> httpx.ConnectError:
    """Return what httpx raises for a cause."""
    error = httpx.ConnectError(str(cause))
    error.__cause__ = cause
    return error


def test_unknown_host_is_an_error_at_once() -> None:
    words = unreachable(caused_by(socket.gaierror(socket.EAI_NONAME, "Name not known")))

    assert words is not None
    assert words.startswith("is an unknown host")


def test_certificate_error_is_raised_at_once() -> None:
    refused = ssl.SSLCertVerificationError("self-signed certificate")
    refused.verify_message = "self-signed certificate"

    words = unreachable(caused_by(refused))

    assert words is not None
    assert "SSL_CERT_FILE" in words


def test_proxy_authentication_error_is_raised_at_once() -> None:
    words = unreachable(httpx.ProxyError("407 Proxy Authentication Required"))

    assert words is not None
    assert "407" in words


@pytest.mark.parametrize(
    "cause",
    [
        socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
        ConnectionResetError("reset"),
        TimeoutError("slow"),
        ssl.SSLEOFError("EOF occurred in violation of protocol"),
    ],
)
def test_transient_error_is_waited_out(cause: BaseException) -> None:
    assert unreachable(caused_by(cause)) is None


def test_each_wait_is_reported() -> None:
    said: list[str] = []
    left = [RetryableError("HTTP 503: at midnight", status=503)] * 3

    def call() -> str:
        if left:
            raise left.pop()
        return "answer"

    assert with_retries(call, log=said.append, sleep=lambda _s: None) == "answer"
    assert len(said) == 3
    assert all("at midnight; retrying in" in line for line in said)


def test_refusing_host_is_retried_once_an_endpoint_may_exist() -> None:
    left = [Unreachable("api refuses connections")] * 3

    def call() -> str:
        if left:
            raise left.pop()
        return "answer"

    assert with_retries(call, under_way=True, sleep=lambda _s: None) == "answer"


@pytest.mark.parametrize("key", ["two words", "ke\ny", "schlüssel"])
def test_key_with_invalid_characters_is_refused(key: str) -> None:
    with pytest.raises(BadRequest, match="TOGETHER_API_KEY holds a character"):
        Connection.from_env({"TOGETHER_API_KEY": key})


def test_missing_ca_file_is_refused() -> None:
    with pytest.raises(BadRequest, match=r"SSL_CERT_FILE /nowhere/ca\.pem does not exist"):
        Connection.from_env({"TOGETHER_API_KEY": "k", "SSL_CERT_FILE": "/nowhere/ca.pem"})


def test_invalid_proxy_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "gopher://proxy:70")
    there = replace(HERE, base_url="https://api.example", provider="api.example", project="p")

    with pytest.raises(BadRequest, match="gopher proxies are not supported"):
        connect("v2", there).__enter__()
