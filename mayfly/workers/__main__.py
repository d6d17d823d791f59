"""A worker process, started by `mayfly.workers.pool`: two arguments, its end of a socket and the
run's process id.

It heeds no signal but SIGKILL: a terminal sends Ctrl-C to the whole group, and it is the run that
decides what becomes of what is under way. It dies with the run, whatever that dies of.
"""

import os
import signal
import sys
from contextlib import suppress
from multiprocessing.connection import Connection

from mayfly.signals import TERMINATION_SIGNALS
from mayfly.system import SYSTEM


def main(end: int, run: int) -> None:
    """Serve until the run lets us go, or is gone."""
    for number in TERMINATION_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    # They were held back for as long as nothing was said about them.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, TERMINATION_SIGNALS)
    # Its end of the socket may have been inherited by something that outlives it.
    died = []
    with suppress(ProcessLookupError):
        watched = SYSTEM.watch(run)
        died = [] if watched is None else [watched]
    if os.getppid() != run:
        return
    from mayfly.workers.worker import ShardWorker  # noqa: PLC0415

    with suppress(EOFError, OSError), Connection(end) as connection:
        ShardWorker(connection, connection.recv()).serve(ends=died, gone=lambda: os._exit(0))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
