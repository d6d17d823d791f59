"""A Prefect server, a process worker and mayfly's deployments, as the README starts them.

They take half a minute to start, so that all tests of a session share one, whichever process of
pytest-xdist they run in. A supervisor process owns server and worker; it ends them, by process id,
when the last process that uses them has released a lock on their folder. The kernel releases the
locks of a process that was killed.
"""

import fcntl
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PREFECT = str(Path(sys.executable).with_name("prefect"))
POOL = "mayfly"
START_S = 240.0
"""On a busy machine: a server takes 12 to 31 seconds, a worker and the deploy 5 each."""


@contextmanager
def shared_deployments(folder: Path) -> Iterator[str]:
    """Start Prefect in a folder, or use the one that runs there; yield the API's URL."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "users.lock").open("w") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        with (folder / "start.lock").open("w") as start:
            fcntl.flock(start, fcntl.LOCK_EX)
            ready_file = folder / "house.json"
            if not ready_file.exists():
                _start_supervisor(folder)
                while not ready_file.exists():
                    assert not (folder / "failed").exists(), (folder / "house.log").read_text()
                    time.sleep(0.1)
            api_url: str = json.loads(ready_file.read_text())["api_url"]
        yield api_url


def _start_supervisor(folder: Path) -> None:
    """Start the supervisor detached: it outlives the process that started it."""
    (folder / "failed").unlink(missing_ok=True)
    with (folder / "house.log").open("ab") as log:
        subprocess.run(
            [
                "setsid",
                "--fork",
                sys.executable,
                "-m",
                "tests.support.prefect_deployments",
                str(folder),
            ],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            check=True,
        )


def environment(folder: Path, port: int) -> dict[str, str]:
    """Return the variables of server, worker and flows; there is no Together key among them."""
    url = f"http://127.0.0.1:{port}/api"
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("TOGETHER_", "PREFECT_"))}
    return keep | {
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": url,
        # Without it the UI calls port 4200, whatever the server's own port is.
        "PREFECT_UI_API_URL": url,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_CLI_COLORS": "false",
        "MAYFLY_HOME": str(folder / "mayfly"),
        "MAYFLY_NAMESPACE": "tests",
        "PYTHONUNBUFFERED": "1",
    }


def main(folder: Path) -> None:
    """Start server and worker, deploy, and keep them until no process uses them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    env = environment(folder, port)
    children: list[subprocess.Popen[bytes]] = []

    def start(name: str, *arguments: str) -> None:
        with (folder / f"{name}.log").open("wb") as log:
            children.append(
                subprocess.Popen(
                    [PREFECT, *arguments],
                    cwd=ROOT,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )

    try:
        start("server", "server", "start", "--host", "127.0.0.1", "--port", str(port))
        _wait_for(lambda: _get(f"{env['PREFECT_API_URL']}/health") is not None, children)
        subprocess.run(
            [sys.executable, "-m", "mayfly.cli.main", "deploy", "--pool", POOL],
            cwd=folder,
            env=env,
            check=True,
            timeout=START_S,
        )
        start("worker", "worker", "start", "--pool", POOL)
        pool = f"{env['PREFECT_API_URL']}/work_pools/{POOL}"
        _wait_for(lambda: (_get(pool) or {}).get("status") == "READY", children)
        whole = folder / "house.json.new"
        whole.write_text(json.dumps({"api_url": env["PREFECT_API_URL"], "pid": os.getpid()}))
        whole.replace(folder / "house.json")
        _wait_until_unused(folder)
    except BaseException:
        (folder / "failed").touch()
        raise
    finally:
        (folder / "house.json").unlink(missing_ok=True)
        for child in reversed(children):
            child.terminate()
        for child in children:
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()


def _wait_until_unused(folder: Path) -> None:
    with (folder / "users.lock").open("w") as users:
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            time.sleep(0.5)


def _wait_for(condition: Any, children: list[subprocess.Popen[bytes]]) -> None:
    end = time.monotonic() + START_S
    while not condition():
        if any(child.poll() is not None for child in children) or time.monotonic() > end:
            raise RuntimeError("a Prefect process ended, or took too long")
        time.sleep(0.2)


def _get(url: str) -> Any:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - our own server
            return json.load(answer)
    except (urllib.error.URLError, OSError, ValueError):
        return None


if __name__ == "__main__":
    main(Path(sys.argv[1]))


def prefect_command(api_url: str, *arguments: str) -> str:
    """Run Prefect's command line; return its output."""
    ended = subprocess.run(
        [PREFECT, *arguments],
        env={**os.environ, "PREFECT_API_URL": api_url, "DO_NOT_TRACK": "1"},
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return ended.stdout
