"""Whole runs by TLS under a private authority: through a proxy, with and without a password."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.certificates import HOST
from tests.support.machine import Launcher, Machine, quick_emulator
from tests.support.tls_proxy import connect_proxy, tls_server

SPELLED = "agent:p@ss:w/rd"
ESCAPED = "agent:p%40ss%3Aw%2Frd"


class Secured(Machine):
    """A machine whose API is behind TLS.

    Attributes:
        tls_port: Where that is on loopback.
        ca_file: The authority's certificate.
    """

    tls_port: int
    ca_file: Path

    def environment_of(self, **more: str | None) -> None:
        """Set what the environment says of proxies, certificates and hosts, and nothing else."""
        names = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE")
        self.env = dict.fromkeys((*names, *map(str.lower, names))) | dict(more)


@pytest.fixture
def secured(launcher: Launcher, tmp_path: Path) -> Iterator[Secured]:
    """A machine whose API only speaks TLS."""
    with (
        quick_emulator() as emulator,
        tls_server(tmp_path, urlsplit(emulator.url).port or 0) as (port, ca_file),
    ):
        machine = Secured(emulator, launcher, tmp_path / "machine", rows=8)
        machine.tls_port, machine.ca_file = port, ca_file
        yield machine
        machine.switch_off()


@pytest.mark.parametrize("password", ["", SPELLED], ids=["open", "password"])
def test_run_through_a_proxy_takes_every_call_through_it(secured: Secured, password: str) -> None:
    with connect_proxy(secured.tls_port, demands=password) as proxy:
        user = f"{ESCAPED}@" if password else ""
        secured.environment_of(
            HTTPS_PROXY=f"http://{user}127.0.0.1:{proxy.port}",
            NO_PROXY="::1, fd00::/8, 10.0.0.0/8,other.test",
            SSL_CERT_FILE=str(secured.ca_file),
            TOGETHER_BASE_URL=f"https://{HOST}",
        )
        run = secured.run()

        assert run.wait() == 0, run.text
        secured.assert_complete()
        assert set(proxy.connects) == {f"{HOST}:443"}
        assert proxy.refused == 0
    assert not secured.emulator.has_endpoints
    for path in [*secured.output.rglob("*"), *secured.home.rglob("*"), run.output_file]:
        if path.is_file():
            assert ESCAPED.encode() not in path.read_bytes(), path
            assert b"p@ss" not in path.read_bytes(), path


def test_private_authority_on_loopback_needs_no_proxy(secured: Secured) -> None:
    secured.environment_of(
        HTTPS_PROXY="http://127.0.0.1:9",
        SSL_CERT_FILE=str(secured.ca_file),
        TOGETHER_BASE_URL=f"https://127.0.0.1:{secured.tls_port}",
    )
    run = secured.run("--runner", "processes")

    assert run.wait() == 0, run.text
    secured.assert_complete()
    assert not secured.emulator.has_endpoints


def test_refused_proxy_password_is_one_line_without_it(secured: Secured) -> None:
    with connect_proxy(secured.tls_port, demands="agent:other") as proxy:
        secured.environment_of(
            HTTPS_PROXY=f"http://{ESCAPED}@127.0.0.1:{proxy.port}",
            SSL_CERT_FILE=str(secured.ca_file),
            TOGETHER_BASE_URL=f"https://{HOST}",
        )
        run = secured.run()

        assert run.wait() == 2, run.text
    assert "407" in run.text
    assert "p@ss" not in run.text
    assert ESCAPED not in run.text
    assert not secured.output.exists()


def test_unknown_authority_is_one_line_with_the_host(secured: Secured) -> None:
    secured.environment_of(TOGETHER_BASE_URL=f"https://127.0.0.1:{secured.tls_port}")
    run = secured.run()

    assert run.wait() == 2, run.text
    last = run.text.strip().splitlines()[-1]
    assert "127.0.0.1" in last
    assert "SSL_CERT_FILE" in last
