"""Workers in processes of this machine."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from mayfly.models.errors import MayflyError, TerminalError
from mayfly.signals import TERMINATION_SIGNALS
from mayfly.workers.carrier import Carrier, Fail, Join
from mayfly.workers.protocol import Assignment

PATIENCE_S = 5.0

HANG_S = 30.0
"""A worker of a machine that is busy may be late; one that reports nothing for so long hangs."""


MOST_WORKERS = 8
"""More than so many send more than an endpoint answers."""


def workers_for(shards: int) -> int:
    """Return how many workers so many shards are worth: one for each core of ours."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(max(2, cores or 1), MOST_WORKERS, shards))


class LocalProcess:
    """A worker in a process of this machine.

    Raises:
        TerminalError: It could not be started.
    """

    outlives_s = outlives_hang_s = 0.0

    def __init__(self, log: Path, *, hang_s: float = HANG_S) -> None:
        self.hang_s = hang_s
        near, far = socket.socketpair()
        # A Ctrl-C that comes while the process wakes up is the run's, too.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, TERMINATION_SIGNALS)
        try:
            with far, log.open("ab") as output:
                self._process = subprocess.Popen(
                    # -P: a folder `mayfly` in the user's working directory is not ours.
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

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def brief(self, assignment: Assignment) -> Assignment:
        """Return all of it: the way there is a socket of this machine without a name."""
        return assignment

    def end(self, *, hung: bool = False) -> str:
        """End it, if it has not ended; return what became of it, in words."""
        self.connection.close()
        if hung:
            self._process.kill()
        try:
            # It ends by itself when its connection does.
            code = self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"


class LocalFleet:
    """So many workers of this machine, each replaced when it dies.

    Args:
        log: Where workers write what breaks them down; removed at the end if it is empty.
    """

    def __init__(self, size: int, log: Path, *, start: Callable[[], Carrier] | None = None) -> None:
        self.size = size
        self._log = log
        self._start = start or (lambda: LocalProcess(log))

    def open(self, join: Join, fail: Fail) -> int:
        """Start all of them; see `Fleet`."""
        self._join, self._fail = join, fail
        for _ in range(self.size):
            self._start_one()
        return self.size

    def lost(self, carrier: Carrier, reason: str, *, ready: bool) -> int:
        """Start another one; see `Fleet`."""
        if not ready:
            raise TerminalError(
                f"{carrier.name} {reason} before it was ready; see {self._log}, "
                "or run with --runner local"
            )
        self._start_one()
        return 1

    def close(self) -> None:
        """Remove the log where workers wrote nothing to it."""
        with suppress(OSError):
            if not self._log.stat().st_size:
                self._log.unlink()

    def _start_one(self) -> None:
        def start() -> None:
            try:
                carrier = self._start()
            except MayflyError as error:
                self._fail(error)
                return
            if not self._join(carrier):
                carrier.end()

        threading.Thread(target=start, name="start worker", daemon=True).start()
