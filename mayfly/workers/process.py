"""Workers in local processes."""

import os
import signal
import socket
import subprocess
import sys
import weakref
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from mayfly.models.errors import TerminalError
from mayfly.signals import TERMINATION_SIGNALS
from mayfly.workers.background import in_background
from mayfly.workers.carrier import Absent, Carrier, Fail, Join
from mayfly.workers.protocol import Assignment

END_TIMEOUT_S = 5.0

HANG_S = 30.0
"""Seconds without a report after which a worker counts as hung, even on a busy machine."""

MOST_WORKERS = 8
"""More workers than this send more than an endpoint can answer."""


def workers_for(shards: int) -> int:
    """Return the number of workers for `shards` shards: one per available core."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(max(2, cores or 1), MOST_WORKERS, shards))


class LocalProcess:
    """A worker in a local process.

    Raises:
        TerminalError: The process could not be started.
    """

    outlives_s = outlives_hang_s = 0.0

    def __init__(self, log: Path, *, hang_s: float = HANG_S) -> None:
        self.hang_s = hang_s
        near, far = socket.socketpair()
        # A Ctrl-C while the process starts is for the run, not for the worker.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, TERMINATION_SIGNALS)
        try:
            with far, log.open("ab") as output:
                self._process = subprocess.Popen(
                    # -P: a folder `mayfly` in the working directory must not shadow the package.
                    [
                        sys.executable,
                        "-P",
                        "-m",
                        "mayfly.workers",
                        str(far.fileno()),
                        str(os.getpid()),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=[far.fileno()],
                )
        except OSError as error:
            near.close()
            raise TerminalError(
                f"worker process cannot be started: {error}; free memory or processes, or run "
                "with --runner local"
            ) from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self.connection = Connection(near.detach())
        self.name = f"worker process {self._process.pid}"
        # A stopped worker (SIGSTOP) does not notice that its run has ended: a run that ends without
        # waiting for it kills it.
        self._left = weakref.finalize(self, self._process.kill)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def brief(self, assignment: Assignment) -> Assignment:
        """Return it unchanged: the connection is a private local socket."""
        return assignment

    def end(self, *, hung: bool = False) -> str:
        """End the process if it runs; return how it ended, for messages."""
        self.connection.close()
        if hung:
            self._process.kill()
        try:
            # It ends by itself when its connection closes.
            code = self._process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._left.detach()
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"


class LocalFleet:
    """A fixed number of local workers, each replaced when it dies.

    Args:
        log: File for the workers' stderr; removed at the end if it is empty.
    """

    def __init__(self, size: int, log: Path, *, start: Callable[[], Carrier] | None = None) -> None:
        self.size = size
        self._log = log
        self._start = start or (lambda: LocalProcess(log))

    def open(self, join: Join, fail: Fail, absent: Absent) -> int:
        """Start all of them; see `Fleet`."""
        del absent
        self._join, self._fail = join, fail
        for _ in range(self.size):
            self._start_one()
        return self.size

    def lost(self, carrier: Carrier, reason: str, *, ready: bool) -> int:
        """Start a replacement; see `Fleet`."""
        if not ready:
            raise TerminalError(
                f"{carrier.name} {reason} before it was ready; see {self._log}, "
                "or run with --runner local"
            )
        self._start_one()
        return 1

    def close(self) -> None:
        """Remove the log if it is empty."""
        with suppress(OSError):
            if not self._log.stat().st_size:
                self._log.unlink()

    def _start_one(self) -> None:
        def start() -> None:
            carrier = self._start()
            if not self._join(carrier):
                carrier.end()

        in_background(start, name="start of a worker process", failed=self._fail)
