"""A temporary Prefect server for an ad-hoc run, where none is configured.

Prefect can start a temporary server itself, but that one shares this process's group: a Ctrl-C
kills it first, and the run then hangs and stays Running for ever. It also survives this process
when that is killed. The server here runs in its own session, ends when its pipe closes, and may
start slowly on a busy machine.

It serves this run only. It gets no settings of the user: no profile, no `PREFECT_SERVER_...`
variable, no proxy and no Together key. It listens on loopback, on a socket bound by this process,
and requires a password that only the two processes have. Its database is in mayfly's state folder,
or in a temporary folder if that is not writable.

Prefect's record is only for people: the run continues whatever happens to this server.
"""

import gc
import http.client
import os
import queue
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from mayfly.proxies import readable_by_httpx
from mayfly.storage.lease_store import state_home

STARTUP_TIMEOUT_S = 120.0
"""4 to 20 s is usual, and twice that on a busy machine."""

MAX_STARTS = 3
"""Attempts to start a server that ends before it responds."""

_PASSED_ON = ("PATH", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
_PASSED_ON_PREFIXES = ("LC_", "PYTHON")
"""Environment variables passed to the server: only what Python needs to start."""

_LOOPBACK = ("127.0.0.1", "localhost", "::1")

_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Opens loopback URLs, which never go through a proxy."""


class ServerUnavailable(Exception):
    """The temporary server ended, or did not respond in time; the message is one line."""


def configured_api_url(env: Mapping[str, str]) -> str | None:
    """Return the configured Prefect API URL, from the environment or the active profile.

    It does not import Prefect, which takes seconds in which a server can already start.
    """
    if url := env.get("PREFECT_API_URL"):
        return url
    home = Path(env.get("PREFECT_HOME", "~/.prefect")).expanduser()
    path = Path(env.get("PREFECT_PROFILES_PATH", home / "profiles.toml")).expanduser()
    try:
        profiles = tomllib.loads(path.read_text())
    except (OSError, ValueError):
        return None
    name = env.get("PREFECT_PROFILE", profiles.get("active", ""))
    url = profiles.get("profiles", {}).get(name, {}).get("PREFECT_API_URL")
    return url if isinstance(url, str) else None


def without_proxy_on_loopback(env: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that keep HTTP clients from using, or failing on, a proxy for loopback.

    Prefect's clients use `HTTP_PROXY` and `HTTPS_PROXY` for loopback too. A proxy on another
    machine cannot reach this loopback, and could read the run's events.
    """
    given = env.get("no_proxy") or env.get("NO_PROXY") or ""
    hosts = [readable_by_httpx(host.strip()) for host in given.split(",") if host.strip()]
    every = ",".join([*hosts, *(host for host in _LOOPBACK if host not in hosts)])
    return {"NO_PROXY": every, "no_proxy": every}


def server_answers(api_url: str, timeout_s: float) -> bool:
    """Return True if a Prefect API responds, with any status.

    Raises:
        OSError: It does not respond (`urllib.error.URLError` is one).
    """
    return bool(server_status(api_url, timeout_s))


def server_status(api_url: str, timeout_s: float) -> int:
    """Return the HTTP status of a Prefect API's health check.

    Raises:
        OSError: It does not respond (`urllib.error.URLError` is one).
    """
    loopback = urlsplit(api_url).hostname in _LOOPBACK
    open_url = _direct.open if loopback else urllib.request.urlopen
    try:
        with open_url(f"{api_url}/health", timeout=timeout_s) as response:
            status: int = response.status
            return status
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except (http.client.HTTPException, ValueError) as error:
        # Something else listens there, or it is no URL.
        raise ConnectionError(f"{type(error).__name__}: {error}") from error


def drop_unsent_events(api_url: str) -> None:
    """Drop the events and log lines that Prefect still queues for an unreachable server.

    At exit Prefect would retry each of them for seven seconds or more, and a run that has ended
    would hang for minutes.
    """
    if not api_url:
        return
    with suppress(OSError):
        if server_answers(api_url, 3):
            return
    # Prefect has no public API for this; if it fails, the exit is merely slow.
    with suppress(Exception):
        from prefect._internal.concurrency import services  # noqa: PLC0415

        holders: Any = services._QueueServiceBase  # noqa: SLF001
        for holder in list(holders._instances.values()):  # noqa: SLF001
            with suppress(queue.Empty):
                while True:
                    holder._queue.get_nowait()  # noqa: SLF001


class TemporaryServer:
    """A Prefect API server that lives no longer than this process.

    Attributes:
        api_url: URL of its API, known before it responds.
        home: Folder of its database and settings, readable only by this user.
    """

    def __init__(
        self,
        env: Mapping[str, str],
        *,
        command: Callable[[int], list[str]] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Start the server; `wait` waits until it responds.

        Args:
            env: This process's environment.
            command: Returns the server's command line from the descriptor of its socket.

        Raises:
            OSError: The process, socket or folder cannot be created.
        """
        self._env, self._command, self._sleep = env, command or _command, sleep
        self._password = secrets.token_urlsafe(32)
        self.home, self._home_is_temporary = _home(env)
        # Bound here and inherited, so that no other process can take the port and receive the
        # password. The backlog keeps requests that arrive before the server listens.
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        port: int = self._socket.getsockname()[1]
        self.api_url = f"http://127.0.0.1:{port}/api"
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the server
        self._process = self._start()

    def environment(self) -> dict[str, str | None]:
        """Return the variables that make this process's Prefect use the server; None removes one.

        They override the user's settings for other servers, wherever those come from.
        """
        others = {
            name: None
            for name in self._env
            if name.startswith(("PREFECT_API_", "PREFECT_SERVER_", "PREFECT_CLIENT_CUSTOM"))
            or name == "PREFECT_PROFILE"
        }
        return {
            **others,
            **without_proxy_on_loopback(self._env),
            "PREFECT_API_URL": self.api_url,
            "PREFECT_API_AUTH_STRING": self._password,
            "PREFECT_HOME": str(self.home),
            "PREFECT_PROFILES_PATH": str(self.home / "profiles.toml"),
        }

    def _start(self) -> subprocess.Popen[bytes]:
        descriptor = self._socket.fileno()
        kept = {
            name: value
            for name, value in self._env.items()
            if name in _PASSED_ON or name.startswith(_PASSED_ON_PREFIXES)
        }
        return subprocess.Popen(
            self._command(descriptor),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._output,
            start_new_session=True,
            pass_fds=(descriptor,),
            # Prefect also reads settings from files in its working directory.
            cwd=self.home,
            env={
                **kept,
                "HOME": str(self.home),
                "PREFECT_HOME": str(self.home),
                "PREFECT_PROFILES_PATH": str(self.home / "profiles.toml"),
                "PREFECT_API_URL": self.api_url,
                "PREFECT_API_AUTH_STRING": self._password,
                "PREFECT_SERVER_API_AUTH_STRING": self._password,
                "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
                "DO_NOT_TRACK": "1",
                "PREFECT_UI_ENABLED": "0",
                # Prefect's settings for an ephemeral server without duplicate services.
                "PREFECT__SERVER_EPHEMERAL": "1",
                "PREFECT__SERVER_FINAL": "1",
            },
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def wait(self, timeout_s: float = STARTUP_TIMEOUT_S) -> str:
        """Wait until the server responds; return the URL of its API.

        Raises:
            ServerUnavailable: It ended, or did not respond in time.
        """
        end = time.monotonic() + timeout_s
        starts = 1
        while time.monotonic() < end:
            if (code := self._process.poll()) is not None:
                # The server of another run may be creating the same database.
                if starts == MAX_STARTS:
                    raise ServerUnavailable(
                        f"it ended with code {code}, {starts} times ({self._last_line()})"
                    )
                self._sleep(starts)
                starts += 1
                self._end_process()
                self._process = self._start()
            with suppress(OSError):
                # The socket accepts the connection before the server runs.
                if server_answers(self.api_url, 2):
                    # With this copy closed, connections to a dead server are refused at once.
                    self._socket.close()
                    return self.api_url
        raise ServerUnavailable(f"it did not respond within {timeout_s:.0f} s")

    def _last_line(self) -> str:
        self._output.seek(0)
        text = self._output.read().decode(errors="replace")
        # uvicorn's last line does not have the reason, which is above it.
        lines = [line.strip() for line in text.splitlines() if "startup failed" not in line]
        return next((line for line in reversed(lines) if line), "without a message")

    def stop(self) -> None:
        """End the server: first SIGTERM, then SIGKILL; a second call does nothing."""
        self._socket.close()
        self._end_process()
        self._output.close()
        if self._home_is_temporary:
            shutil.rmtree(self.home, ignore_errors=True)

    def _end_process(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()


def _command(descriptor: int) -> list[str]:
    # -P: do not import from the working directory.
    module = "mayfly.orchestration.temporary_server"
    return [sys.executable, "-P", "-m", module, str(descriptor)]


def _home(env: Mapping[str, str]) -> tuple[Path, bool]:
    """Return the server's folder, and whether to remove it with the server.

    There is one for each Prefect version: an older version cannot open a newer database.
    """
    home = state_home(env) / f"prefect-{version('prefect')}"
    with suppress(OSError):
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        home.chmod(0o700)
        # The folder may be on a full or read-only disk.
        with tempfile.NamedTemporaryFile(dir=home) as probe:
            probe.write(b"\0" * 4096)
            probe.flush()
        return home, False
    return Path(tempfile.mkdtemp(prefix="mayfly-prefect-")), True


def _end_with_the_pipe() -> None:
    # Do not use sys.stdin: interpreter shutdown aborts while a thread blocks on it.
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5)
    os._exit(0)


def serve(descriptor: int) -> None:
    """Serve Prefect's API on a listening socket until standard input closes."""
    threading.Thread(target=_end_with_the_pipe, daemon=True).start()
    # Objects created by these imports stay alive: collecting garbage during them takes a fifth of
    # the start-up time.
    gc.disable()
    import uvicorn  # noqa: PLC0415 - after the thread has started: it takes seconds
    from prefect.server.api.server import create_app  # noqa: PLC0415

    gc.freeze()
    gc.enable()
    server = uvicorn.Server(uvicorn.Config(create_app, factory=True, log_level="error"))
    # uvicorn re-raises the signal that has ended it.
    with suppress(KeyboardInterrupt):
        server.run(sockets=[socket.socket(fileno=descriptor)])


if __name__ == "__main__":
    serve(int(sys.argv[1]))
