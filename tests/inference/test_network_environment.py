"""Proxies, certificates, open-file limits and unreachable hosts."""

import asyncio
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvloop

from mayfly.inference.open_files import RESERVED_FILES, max_connections, open_files
from mayfly.inference.transport.base import NotSent, Outcome, Reply, Transport
from mayfly.inference.transport.http1 import Http1Transport
from mayfly.inference.transport.reqwest import RustTransport
from mayfly.inference.transport.select import open_transport
from mayfly.models.errors import BadRequest
from mayfly.proxies import proxy_for, usable_proxy_for, without_password
from tests.support.scripted_server import ScriptedServer

PROXY = {"https": "http://proxy:3128", "http": "http://proxy:3128"}


def posted(make: Callable[[], Transport]) -> Outcome:
    async def run() -> Outcome:
        transport = make()
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        transport.send(b"{}", outcome.set_result)
        try:
            return await asyncio.wait_for(outcome, 30)
        finally:
            await transport.close()

    found: Outcome = uvloop.run(run())
    return found


@contextmanager
def closed_port() -> Iterator[int]:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.mark.parametrize(
    ("excluded", "url", "direct"),
    [
        ("", "https://api.example.com/v1", False),
        ("api.example.com", "https://api.example.com/v1", True),
        ("example.com", "https://api.example.com/v1", True),
        (".example.com", "https://example.com/v1", False),
        ("ample.com", "https://example.com/v1", False),
        ("*", "https://api.example.com/v1", True),
        ("api.example.com:8443", "https://api.example.com/v1", False),
        ("api.example.com:8443", "https://api.example.com:8443/v1", True),
        ("fd00::1", "https://[fd00::1]/v1", True),
        ("fd00::/8", "https://[fd12::7]:8443/v1", True),
        ("fd00::/8", "https://[2001:db8::1]/v1", False),
        ("10.0.0.0/8", "https://10.1.2.3/v1", True),
        ("10.0.0.0/8", "https://11.1.2.3/v1", False),
        ("10.0.0.0/8, ,other", "https://10.1.2.3/v1", True),
        ("", "http://localhost:8000/v1", True),
        ("", "http://127.0.0.1:8000/v1", True),
        ("", "http://[::1]:8000/v1", True),
    ],
)
def test_no_proxy_names_hosts_domains_addresses_and_networks(
    excluded: str, url: str, direct: bool
) -> None:
    assert (proxy_for(url, {**PROXY, "no": excluded}) is None) is direct


@pytest.mark.parametrize("excluded", ["", "example.com", ".example.com", "10.1.2.3", "::1,x"])
@pytest.mark.parametrize("proxies", [PROXY, {"all": "proxy:1"}, {"http": "http://proxy:2"}])
def test_proxies_equal_those_of_httpx(
    monkeypatch: pytest.MonkeyPatch, excluded: str, proxies: dict[str, str]
) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    for scheme, proxy in proxies.items():
        monkeypatch.setenv(f"{scheme}_proxy", proxy)
    monkeypatch.setenv("no_proxy", excluded)

    with httpx.Client() as client:
        for url in ("https://example.com/", "http://www.example.com/", "https://10.1.2.3/"):
            transport: Any = client._transport_for_url(httpx.URL(url))
            direct = transport is client._transport
            assert (proxy_for(url, {**proxies, "no": excluded}) is None) is direct, url


@pytest.mark.parametrize("proxy", ["socks5://user:secret@proxy:1080", "http://user:secret@"])
def test_invalid_proxy_is_refused_without_its_password(proxy: str) -> None:
    with pytest.raises(BadRequest) as caught:
        usable_proxy_for("https://api.example.com/", {"all": proxy})

    assert "secret" not in str(caught.value)
    assert "proxy" in str(caught.value)


def test_proxy_password_is_not_shown() -> None:
    assert without_password("http://u:p@ss@host:1/x") == "http://host:1/x"
    assert without_password("http://host:1") == "http://host:1"


def test_proxy_is_used_with_its_password_and_named_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with ScriptedServer() as server:
        at = server.url.removeprefix("http://").partition("/")[0]
        monkeypatch.setenv("http_proxy", f"http://user:secret@{at}")
        monkeypatch.delenv("no_proxy", raising=False)
        reply = posted(lambda: open_transport("http://api.example.test/v1/chat/completions", {}))

    assert isinstance(reply, Reply)
    assert b"proxy-authorization: basic " in server.requests[0].head.lower()


def test_proxy_that_refuses_its_password_is_reported_at_once() -> None:
    async def script(_request: object) -> bytes:
        return b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"

    with ScriptedServer(script) as server:
        at = server.url.removeprefix("http://").partition("/")[0]
        proxy = f"http://user:secret@{at}"
        outcome = posted(lambda: RustTransport("http://api.example.test/v1", {}, proxy=proxy))

    assert isinstance(outcome, NotSent)
    assert outcome.patience_s == 0.0
    assert "407" in str(outcome)
    assert "secret" not in str(outcome)


def test_refusing_host_is_named() -> None:
    with closed_port() as port:
        outcome = posted(lambda: Http1Transport(f"http://127.0.0.1:{port}/v1", {}))

    assert isinstance(outcome, NotSent)
    assert str(outcome) == f"127.0.0.1:{port} refused the connection"
    assert outcome.patience_s == 10.0


def test_unknown_host_is_an_error_at_once() -> None:
    outcome = posted(lambda: Http1Transport("http://nowhere.invalid/v1", {}))

    assert isinstance(outcome, NotSent)
    assert "nowhere.invalid" in str(outcome)


def test_low_open_file_limit_bounds_the_connections() -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256));"
        "from mayfly.inference.open_files import max_connections; print(max_connections())"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip

    assert 100 < int(found.stdout) < 256 - RESERVED_FILES


def test_open_file_soft_limit_is_raised() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowered = min(hard, 512)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowered, hard))
    try:
        most = max_connections()
        raised = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert raised >= lowered
    assert most <= raised - open_files()
