"""A Dask scheduler and workers as processes, each with a home and working directory of its own."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tests.support.wait import wait_until


class DaskProcesses:
    """A scheduler on loopback, and workers that have no more than what is given to them.

    Attributes:
        address: Of the scheduler.
        workers: Their processes, in the order of their start.
    """

    def __init__(self, folder: Path, *, tls: Mapping[str, str] | None = None) -> None:
        self._folder, self._tls = folder, dict(tls or {})
        self.workers: list[subprocess.Popen[bytes]] = []
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = found.getsockname()[1]
        self.address = f"{'tls' if tls else 'tcp'}://127.0.0.1:{port}"
        self.scheduler = self._start(
            "scheduler",
            ["scheduler", "--host", self.address.rpartition(":")[0], "--port", str(port)],
            {},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
        for process in (*self.workers, self.scheduler):
            process.wait()

    def add_worker(
        self, environment: Mapping[str, str], *, nanny: bool = False
    ) -> subprocess.Popen[bytes]:
        """Start a worker with these variables beside those of every process.

        Args:
            nanny: Whether Dask starts it again when it dies; the process is then the nanny's.
        """
        name = f"worker-{len(self.workers)}"
        host = self.address.rpartition(":")[0]
        kind = [] if nanny else ["--no-nanny"]
        process = self._start(name, ["worker", self.address, "--host", host, *kind], environment)
        self.workers.append(process)
        return process

    def living(self, count: int, environment: Mapping[str, str]) -> list[subprocess.Popen[bytes]]:
        """Return so many workers that live and are registered; some are started for that."""
        while len(living := [one for one in self.workers if one.poll() is None]) < count:
            self.add_worker(environment)
        self.await_workers()
        return living[:count]

    def await_workers(self) -> None:
        """Wait until every worker that was started and lives has registered."""
        for number, process in enumerate(self.workers):
            if process.poll() is None:
                log = self._folder / f"worker-{number}" / "log"
                wait_until(lambda log=log: b"Registered to" in log.read_bytes(), str(log))  # type: ignore[misc]

    def logs(self) -> str:
        """Return all that the processes wrote."""
        return "".join(path.read_text() for path in self._folder.glob("*/log"))

    def state(self) -> str:
        """Return what the scheduler and the workers keep, as Dask's own dump has it."""
        from distributed import Client  # noqa: PLC0415 - an extra

        with Client(self.address, set_as_default=False) as client:  # type: ignore[no-untyped-call]
            client.dump_cluster_state(str(self._folder / "dump"), format="yaml")
        return (self._folder / "dump.yaml").read_text()

    def files(self) -> bytes:
        """Return the content of every file below the folders of the processes."""
        paths = (path for path in sorted(self._folder.rglob("*")) if path.is_file())
        return b"".join(path.read_bytes() for path in paths)

    def _start(
        self, name: str, args: list[str], environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        folder = self._folder / name
        for child in ("home", "tmp"):
            (folder / child).mkdir(parents=True)
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        with (folder / "log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "dask", *args, "--no-dashboard"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                env={
                    **kept,
                    **self._tls,
                    "HOME": str(folder / "home"),
                    "TMPDIR": str(folder / "tmp"),
                    **environment,
                },
            )


def pause(process: subprocess.Popen[bytes]) -> None:
    """Stop a process as a machine that swaps does: it lives, and does nothing."""
    process.send_signal(signal.SIGSTOP)
