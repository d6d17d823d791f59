"""A Prefect server for one ad-hoc run, where none is configured.

Prefect can start a temporary server by itself, but that one shares our process group, so that a
Ctrl-C kills it first and the run then hangs and stays Running for ever; and it survives us when we
are killed. Ours lives in a session of its own, ends when our end of its pipe closes, and may take
its time to start on a busy machine.

It belongs to this run alone. It gets its settings from here and none from the user: no profile,
no `PREFECT_SERVER_...` variable, no proxy, no Together key. It listens on loopback, on a socket
that this process has bound, and asks for a password that is in the environment of the two
processes only. Its database is kept under mayfly's own state folder, or in a temporary folder
where that cannot be written.

Prefect's record is for people: whatever happens to this server, the run goes on.
"""

import gc
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
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from mayfly.proxies import readable_by_httpx
from mayfly.storage.lease_store import state_home

STARTUP_TIMEOUT_S = 120.0
"""Generous: 4 to 20 s is usual, and twice that on a busy machine."""

STARTS = 3
"""A server that ends before it answers is started so often."""

_PASSED_ON = ("PATH", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
_PASSED_ON_PREFIXES = ("LC_", "PYTHON")
"""The user's variables that the server gets: what Python needs to start, and nothing else."""

_LOOPBACK = ("127.0.0.1", "localhost", "::1")

_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Opens loopback URLs: they never go through a proxy, whatever the environment says."""


class ServerUnavailable(Exception):
    """The temporary server ended, or did not answer in time; the message is one line."""


def configured_api_url(env: Mapping[str, str]) -> str | None:
    """Return the Prefect API that the user has configured, by variable or active profile.

    Read here without Prefect, whose import takes seconds that a server needs to start in.
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
    """Return the variables by which no HTTP client sends loopback through a proxy, or fails.

    Prefect's clients honour `HTTP_PROXY` and `HTTPS_PROXY` for loopback as well; a proxy elsewhere
    cannot reach our loopback, and its owner would read the run's events.
    """
    given = env.get("no_proxy") or env.get("NO_PROXY") or ""
    hosts = [readable_by_httpx(host.strip()) for host in given.split(",") if host.strip()]
    every = ",".join([*hosts, *(host for host in _LOOPBACK if host not in hosts)])
    return {"NO_PROXY": every, "no_proxy": every}


def answers(api_url: str, timeout_s: float) -> bool:
    """Whether a Prefect API answers, whatever it says.

    Raises:
        OSError: It does not; `urllib.error.URLError` is one.
    """
    loopback = urlsplit(api_url).hostname in _LOOPBACK
    open_url = _direct.open if loopback else urllib.request.urlopen
    try:
        with open_url(f"{api_url}/health", timeout=timeout_s):
            return True
    except urllib.error.HTTPError:
        return True


def forget_what_nobody_takes(api_url: str) -> None:
    """Drop the events and log lines that Prefect still holds for a server that is gone.

    At exit it would try each of them again, seven seconds and more for one, and a run that has
    ended would hang for minutes.
    """
    if not api_url:
        return
    with suppress(OSError):
        if answers(api_url, 3):
            return
    # Prefect has no public word for this; without it the exit is slow, and that is all.
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
        api_url: Where it answers; known before it does.
        home: Folder of its database and settings, readable by this user only.
    """

    def __init__(
        self,
        env: Mapping[str, str],
        *,
        command: Callable[[int], list[str]] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Start the server; `wait` says when it answers.

        Args:
            env: This process's environment.
            command: Argument list of the server, from the descriptor of its listening socket.

        Raises:
            OSError: No process, socket or folder can be had.
        """
        self._env, self._command, self._sleep = env, command or _command, sleep
        self._password = secrets.token_urlsafe(32)
        self.home, self._home_is_temporary = _home(env)
        # Bound here and handed on: no other process can take the port meanwhile and be given the
        # password. The backlog keeps calls that come before the server listens.
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        port: int = self._socket.getsockname()[1]
        self.api_url = f"http://127.0.0.1:{port}/api"
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the server
        self._process = self._start()

    def environment(self) -> dict[str, str | None]:
        """Return the variables by which this process's Prefect uses the server; None removes one.

        They take the place of the user's own settings for other servers, from wherever these come.
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
            # Prefect reads settings from files in its working folder, too.
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
                # Prefect's own words for a server that lives for one run and has no services twice.
                "PREFECT__SERVER_EPHEMERAL": "1",
                "PREFECT__SERVER_FINAL": "1",
            },
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def wait(self, timeout_s: float = STARTUP_TIMEOUT_S) -> str:
        """Wait until the server answers; return its API's URL.

        Raises:
            ServerUnavailable: It ended, or did not answer in time.
        """
        end = time.monotonic() + timeout_s
        starts = 1
        while time.monotonic() < end:
            if (code := self._process.poll()) is not None:
                # Another run's server may be making the same database just now.
                if starts == STARTS:
                    raise ServerUnavailable(
                        f"it ended with code {code}, {starts} times ({self._last_line()})"
                    )
                self._sleep(starts)
                starts += 1
                self._end_process()
                self._process = self._start()
            with suppress(OSError):
                # The socket takes the call before the server does.
                if answers(self.api_url, 2):
                    # From here on a server that has died refuses calls, which is seen at once.
                    self._socket.close()
                    return self.api_url
        raise ServerUnavailable(f"it did not answer within {timeout_s:.0f} s")

    def _last_line(self) -> str:
        self._output.seek(0)
        text = self._output.read().decode(errors="replace")
        # uvicorn's own last line says nothing about the reason, which is above it.
        lines = [line.strip() for line in text.splitlines() if "startup failed" not in line]
        return next((line for line in reversed(lines) if line), "without a message")

    def stop(self) -> None:
        """End the server: first by a signal, then by force; a second call does nothing."""
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
    # Not from the folder that the user happens to be in.
    module = "mayfly.orchestration.temporary_server"
    return [sys.executable, "-P", "-m", module, str(descriptor)]


def _home(env: Mapping[str, str]) -> tuple[Path, bool]:
    """Return the server's folder, and whether it is to be removed with the server.

    One for each version of Prefect: a database is not opened by an older one.
    """
    home = state_home(env) / f"prefect-{version('prefect')}"
    with suppress(OSError):
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        home.chmod(0o700)
        # A folder may exist on a disk that is full or read-only.
        with tempfile.NamedTemporaryFile(dir=home) as probe:
            probe.write(b"\0" * 4096)
            probe.flush()
        return home, False
    return Path(tempfile.mkdtemp(prefix="mayfly-prefect-")), True


def _end_with_the_pipe() -> None:
    # Not by way of sys.stdin: Python aborts at its end while a thread holds that.
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5)
    os._exit(0)


def serve(descriptor: int) -> None:
    """Serve Prefect's API on a listening socket until standard input closes."""
    threading.Thread(target=_end_with_the_pipe, daemon=True).start()
    # What these imports make stays for good: looking through it for garbage meanwhile takes a
    # fifth of the start-up's time.
    gc.disable()
    import uvicorn  # noqa: PLC0415 - after the watch is set: these imports take seconds
    from prefect.server.api.server import create_app  # noqa: PLC0415

    gc.freeze()
    gc.enable()
    server = uvicorn.Server(uvicorn.Config(create_app, factory=True, log_level="error"))
    # uvicorn raises the signal that has ended it once more.
    with suppress(KeyboardInterrupt):
        server.run(sockets=[socket.socket(fileno=descriptor)])


if __name__ == "__main__":
    serve(int(sys.argv[1]))
