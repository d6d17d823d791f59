"""Where the workers of a run live: processes of this machine."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from mayfly.models.errors import TerminalError
from mayfly.signals import TERMINATION_SIGNALS
from mayfly.storage.run_paths import RunPaths

PATIENCE_S = 5.0


class Carrier(Protocol):
    """A worker as the run sees it.

    Attributes:
        name: What people know it by.
        connection: To the worker; it ends when the worker does.
    """

    name: str
    connection: "Connection[Any, Any]"

    def end(self) -> str:
        """End it, if it has not ended; return what became of it, in words."""


class LocalProcess:
    """A worker in a process of this machine.

    Raises:
        TerminalError: It could not be started.
    """

    def __init__(self, log: Path) -> None:
        near, far = socket.socketpair()
        # A Ctrl-C that comes while the process wakes up is the run's, too.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, TERMINATION_SIGNALS)
        try:
            with far, log.open("ab") as told:
                self._process = subprocess.Popen(
                    # -P: a folder `mayfly` where the user happens to be is not ours.
                    [
                        sys.executable,
                        "-P",
                        "-m",
                        "mayfly.workers",
                        str(far.fileno()),
                        str(os.getpid()),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=told,
                    stderr=told,
                    pass_fds=[far.fileno()],
                )
        except OSError as error:
            near.close()
            raise TerminalError(
                f"worker process cannot be started: {error}; make room, or run with --runner local"
            ) from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self.connection = Connection(near.detach())
        self.name = f"worker process {self._process.pid}"

    def end(self) -> str:
        """End it, if it has not ended; return what became of it, in words."""
        self.connection.close()
        try:
            # It ends by itself when its connection does.
            code = self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"


def forget_empty_log(paths: RunPaths) -> None:
    """Remove the workers' log where they had nothing to say."""
    with suppress(OSError):
        if not paths.workers_log.stat().st_size:
            paths.workers_log.unlink()
