"""The temporary Prefect server: ownership, environment, and reported failures."""

import base64
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from mayfly.orchestration.temporary_server import (
    MAX_STARTS,
    ServerUnavailable,
    TemporaryServer,
    configured_api_url,
    without_proxy_on_loopback,
)
from mayfly.proxies import proxy_for

KEY = "tgp_v1_temporary_5e1c"
NOWHERE = "http://192.0.2.1:3128"
HOSTILE = {
    "TOGETHER_API_KEY": KEY,
    "HTTP_PROXY": NOWHERE,
    "https_proxy": NOWHERE,
    "PREFECT_SERVER_API_AUTH_STRING": "user:theirs",
    "PREFECT_API_DATABASE_CONNECTION_URL": "postgresql+asyncpg://nobody@192.0.2.1/none",
    "PREFECT_PROFILE": "theirs",
    "PREFECT_LOGGING_LEVEL": "nonsense",
}
"""Variables of a user's that would each break a server which inherits them."""


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of a user whose settings are of no use to the server."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(sys.path),
        "MAYFLY_HOME": str(folder / "state"),
        **HOSTILE,
    }


def printing(code: str) -> "list[str]":
    """Return a command that replaces the server."""
    return [sys.executable, "-c", code]


def test_server_that_exits_early_is_restarted_and_then_reported(tmp_path: Path) -> None:
    waits: list[float] = []
    command = printing("import sys; sys.exit('database is locked')")
    server = TemporaryServer(environment(tmp_path), command=lambda _: command, sleep=waits.append)

    with (
        server,
        pytest.raises(
            ServerUnavailable, match=rf"code 1, {MAX_STARTS} times \(database is locked\)"
        ),
    ):
        server.wait()

    assert len(waits) == MAX_STARTS - 1


def test_server_that_never_answers_is_given_up(tmp_path: Path) -> None:
    command = printing("import time; time.sleep(60)")

    with (
        TemporaryServer(environment(tmp_path), command=lambda _: command) as server,
        pytest.raises(ServerUnavailable, match="did not respond within 0 s"),
    ):
        server.wait(timeout_s=0.1)


def test_environment_of_server_has_neither_key_nor_proxies_nor_settings_of_the_user(
    tmp_path: Path,
) -> None:
    code = "import json, os; open('seen.json', 'w').write(json.dumps(dict(os.environ)))"
    server = TemporaryServer(
        environment(tmp_path), command=lambda _: printing(code), sleep=lambda _: None
    )

    with server, pytest.raises(ServerUnavailable):
        server.wait()

    seen = json.loads((server.home / "seen.json").read_text())
    assert not {name for name in HOSTILE if seen.get(name) == HOSTILE[name]}
    assert KEY not in json.dumps(seen)
    assert seen["HOME"] == str(server.home)
    assert server.home.stat().st_mode & 0o077 == 0


def test_unwritable_home_is_replaced_by_a_temporary_one(tmp_path: Path) -> None:
    blocked = tmp_path / "state"
    blocked.write_text("a file where the folder should be")
    command = printing("")

    with TemporaryServer(environment(tmp_path), command=lambda _: command) as server:
        home = server.home
        assert home.stat().st_mode & 0o077 == 0

    assert not home.exists()


def test_settings_for_other_servers_are_removed(tmp_path: Path) -> None:
    env = environment(tmp_path) | {"PREFECT_API_KEY": "pnu_theirs", "NO_PROXY": "intra.example"}

    with TemporaryServer(env, command=lambda _: printing("")) as server:
        changes = server.environment()

    assert {name for name, value in changes.items() if value is None} >= {
        "PREFECT_API_KEY",
        "PREFECT_PROFILE",
        "PREFECT_SERVER_API_AUTH_STRING",
    }
    assert changes["NO_PROXY"] == changes["no_proxy"] == "intra.example,127.0.0.1,localhost,::1"
    assert changes["PREFECT_API_AUTH_STRING"] not in ("", None, "user:theirs")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TemporaryServer]:
    """A real server; it takes seconds to start."""
    with TemporaryServer(environment(tmp_path_factory.mktemp("real"))) as server:
        server.wait()
        yield server


def ask(server: TemporaryServer, password: str | None) -> int:
    """Count the server's flow runs with a password or none; return the HTTP status."""
    headers = {}
    if password is not None:
        basic = base64.b64encode(password.encode()).decode()
        headers = {"authorization": f"Basic {basic}"}
    with httpx.Client(trust_env=False, timeout=30) as http:
        return http.post(f"{server.api_url}/flow_runs/count", json={}, headers=headers).status_code


def test_server_answers_only_with_the_password_of_its_run(server: TemporaryServer) -> None:
    password = server.environment()["PREFECT_API_AUTH_STRING"]
    command_line = Path(f"/proc/{server._process.pid}/cmdline").read_text()

    assert password is not None
    assert password not in command_line
    assert ask(server, None) == 401
    assert ask(server, "user:theirs") == 401
    assert ask(server, password) == 200


def test_loopback_is_added_once_to_no_proxy() -> None:
    once = without_proxy_on_loopback({"no_proxy": "localhost, .corp"})

    assert once["NO_PROXY"] == "localhost,.corp,127.0.0.1,::1"
    assert without_proxy_on_loopback(once) == once


def test_networks_in_no_proxy_are_written_so_that_httpx_can_read_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proxies = {"https": "http://proxy:3128", "no": "10.0.0.0/8, fd00::/8,fe80::1"}
    there = without_proxy_on_loopback({"NO_PROXY": proxies["no"]})
    for name, value in {**there, "https_proxy": proxies["https"]}.items():
        monkeypatch.setenv(name, value)

    with httpx.Client():
        rewritten = proxies | {"no": there["NO_PROXY"]}
    for host in ("10.1.2.3", "11.1.2.3", "[fd12::7]", "[2001:db8::1]", "[fe80::1]"):
        url = f"https://{host}/v1"
        assert proxy_for(url, rewritten) == proxy_for(url, proxies), url


def test_unreadable_profile_is_no_configured_server(tmp_path: Path) -> None:
    (tmp_path / "profiles.toml").write_bytes(b"\xff\xfe")

    assert configured_api_url({"PREFECT_HOME": str(tmp_path)}) is None
