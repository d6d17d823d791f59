"""A Prefect server for one ad-hoc run, where none is configured.

Prefect can start a temporary server by itself, but that one shares our process group, so that a
Ctrl-C kills it first and the run then hangs and stays Running for ever; and it is left behind
when we are killed. Ours lives in a session of its own, ends when our end of its pipe closes, and
may take its time to start on a busy machine.
"""

import gc
import os
import queue
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
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mayfly.models.errors import TerminalError

STARTUP_TIMEOUT_S = 180.0
"""Generous: 4-20 s is usual, and a slow start must not fail a run."""

STARTS = 3
"""A server that ends before it answers is started so often."""


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
    except (OSError, tomllib.TOMLDecodeError):
        return None
    name = env.get("PREFECT_PROFILE", profiles.get("active", ""))
    url = profiles.get("profiles", {}).get(name, {}).get("PREFECT_API_URL")
    return url if isinstance(url, str) else None


def forget_what_nobody_takes(api_url: str) -> None:
    """Drop the events and log lines that Prefect still holds for a server that is gone.

    At exit it would try each of them again, seven seconds and more for one, and a run that has
    ended would hang for minutes.
    """
    if not api_url:
        return
    try:
        with urllib.request.urlopen(f"{api_url}/health", timeout=3):  # noqa: S310
            return
    except urllib.error.HTTPError:
        return
    except OSError:
        pass
    # Prefect has no public word for this; without it the exit is slow, and that is all.
    with suppress(Exception):
        from prefect._internal.concurrency import services  # noqa: PLC0415

        holders: Any = services._QueueServiceBase  # noqa: SLF001
        for holder in list(holders._instances.values()):  # noqa: SLF001
            with suppress(queue.Empty):
                while True:
                    holder._queue.get_nowait()  # noqa: SLF001


class TemporaryServer:
    """A Prefect API server that lives no longer than this process."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.api_url = f"http://127.0.0.1:{self.port}/api"
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the server
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "mayfly.orchestration.temporary_server", str(self.port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._said,
            start_new_session=True,
            env={
                **os.environ,
                "DO_NOT_TRACK": "1",
                "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
                "PREFECT_UI_ENABLED": "0",
                "PREFECT_API_URL": self.api_url,
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
        self._said.close()

    def wait(self, timeout_s: float = STARTUP_TIMEOUT_S) -> str:
        """Wait until the server answers; return its API's URL.

        Raises:
            TerminalError: It ended, or did not answer in time.
        """
        end = time.monotonic() + timeout_s
        starts = 1
        while time.monotonic() < end:
            if (code := self._process.poll()) is not None:
                # Its database is the user's, and another server may be making it just now.
                if starts == STARTS:
                    raise TerminalError(
                        f"Prefect's temporary server ended with code {code} before it answered, "
                        f"{starts} times over ({self._last_line()}); set PREFECT_API_URL to a "
                        "server that runs"
                    )
                time.sleep(starts)
                starts += 1
                self.stop()
                self._process = self._start()
            try:
                with urllib.request.urlopen(f"{self.api_url}/health", timeout=5):  # noqa: S310
                    return self.api_url
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        raise TerminalError(
            f"Prefect's temporary server did not answer within {timeout_s:.0f} s; "
            "set PREFECT_API_URL to a server that runs"
        )

    def _last_line(self) -> str:
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else "it said nothing"

    def stop(self) -> None:
        """End the server: first by asking, then by force."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()


def _end_with_the_pipe() -> None:
    # Not by way of sys.stdin: Python aborts at its end while a thread holds that.
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5)
    os._exit(0)


def serve(port: int) -> None:
    """Serve Prefect's API on loopback until standard input closes."""
    threading.Thread(target=_end_with_the_pipe, daemon=True).start()
    # What these imports make stays for good: looking through it for garbage meanwhile takes a
    # fifth of the start-up's time.
    gc.disable()
    import uvicorn  # noqa: PLC0415 - after the watch is set: these imports take seconds
    from prefect.server.api.server import create_app  # noqa: PLC0415

    gc.freeze()
    gc.enable()
    uvicorn.run(create_app, factory=True, host="127.0.0.1", port=port, log_level="error")


if __name__ == "__main__":
    serve(int(sys.argv[1]))
