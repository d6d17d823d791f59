"""One Prefect server for all processes of a test session."""

import fcntl
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

START_S = 180.0
_started: list[subprocess.Popen[bytes]] = []
"""What this process has started; it ends by itself, maybe later than we do."""


@contextmanager
def shared_prefect_server(folder: Path) -> Iterator[str]:
    """Start a server in `folder`, or use the one that another process started; yields its API.

    It lives until the last of its users has ended, however that one ends: its standard input is a
    named pipe that every user holds open.
    """
    pipe, url_file = folder / "prefect.pipe", folder / "prefect.url"
    with (folder / "prefect.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not url_file.exists():
            os.mkfifo(pipe)
        # For both directions, because that is never refused and never waits.
        both = os.open(pipe, os.O_RDWR | os.O_CLOEXEC)
        holder = os.open(pipe, os.O_WRONLY | os.O_CLOEXEC)
        try:
            if not url_file.exists():
                url_file.write_text(start_server(pipe, folder, os.environ))
        except BaseException:
            os.close(holder)
            raise
        finally:
            os.close(both)
    try:
        yield url_file.read_text()
    finally:
        os.close(holder)


def start_server(pipe: Path, folder: Path, env: Mapping[str, str]) -> str:
    """Start a server that reads its standard input from a pipe; return its API's URL."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener, pipe.open("rb") as end:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/api"
        module = "mayfly.orchestration.temporary_server"
        process = subprocess.Popen(
            [sys.executable, "-m", module, str(listener.fileno())],
            pass_fds=(listener.fileno(),),
            stdin=end,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={
                **env,
                "PREFECT_HOME": str(folder / "prefect"),
                "PREFECT_API_URL": url,
                "PREFECT_UI_ENABLED": "0",
                "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
                "DO_NOT_TRACK": "1",
            },
        )
    _started.append(process)
    end_s = time.monotonic() + START_S
    while time.monotonic() < end_s:
        if process.poll() is not None:
            raise RuntimeError(f"the Prefect server ended with code {process.returncode}")
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):  # noqa: S310
                return url
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    process.kill()
    raise RuntimeError(f"the Prefect server did not answer within {START_S:.0f} s")
