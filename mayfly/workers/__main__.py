"""Entry point of a worker process, started by `mayfly.workers.pool`.

Its two arguments are the file descriptor of its socket and the run's process id. It ignores every
termination signal: a terminal sends Ctrl-C to the whole process group, and the run decides about
requests in flight. It ends with the run, however the run ends.
"""

import gc
import os
import signal
import sys
from contextlib import suppress
from multiprocessing.connection import Connection

from mayfly.signals import TERMINATION_SIGNALS
from mayfly.system import SYSTEM


def main(end: int, run: int) -> None:
    """Serve until the run closes the connection or dies."""
    for number in TERMINATION_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    # The run blocked the signals while it started this process.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, TERMINATION_SIGNALS)
    # Watch the process too: its end of the socket may be inherited by a process that outlives it.
    died = []
    with suppress(ProcessLookupError):
        watched = SYSTEM.watch(run)
        died = [] if watched is None else [watched]
    if os.getppid() != run:
        return
    gc.disable()
    from mayfly.workers.worker import ShardWorker  # noqa: PLC0415

    # The objects of imports stay: no collection needs to look through them again.
    gc.freeze()
    gc.enable()
    with suppress(EOFError, OSError), Connection(end) as connection:
        ShardWorker(connection, connection.recv()).serve(ends=died, on_end=lambda: os._exit(0))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
