"""The thread of a worker pool that reads what its workers send.

It writes their answers to the journals and acknowledges them; everything else goes to the pool. So
an answer takes one thread from the connection to the file and back. A disk that hangs delays no
stop, which the pool's own thread sends; one that is only slow delays the acknowledgements, for
which the threads of the shards wait.
"""

import selectors
import time
from collections.abc import Callable, Sequence

from mayfly.models.errors import MayflyError
from mayfly.workers.background import in_background
from mayfly.workers.call_queue import CallQueue
from mayfly.workers.handle import ShardTask, Unsynced, WorkerHandle
from mayfly.workers.protocol import Block, Ended, Report, RowsNeeded, Written
from mayfly.workers.totals import Totals

LOOK_EVERY_S = 1.0


class Receiver:
    """Reads from workers; see the module.

    The functions that it is given are called in its thread.

    Args:
        totals: Of the pool; gets what is written.
        arrived: Takes the messages of a worker, in order, apart from answers.
        lost: Takes a worker whose connection has ended; it is no longer read.
        unwritable: Takes a shard whose answers cannot be written, and why.
        failed: Takes an unexpected error, which ends the thread.

    Attributes:
        looked_at: When it has last looked for messages, on the monotonic clock. A worker is silent
            up to then at most: no worker is while a disk hangs.
    """

    def __init__(
        self,
        totals: Totals,
        *,
        arrived: Callable[[WorkerHandle, Sequence[Report | RowsNeeded | Ended]], object],
        lost: Callable[[WorkerHandle], object],
        unwritable: Callable[[ShardTask, Exception], object],
        failed: Callable[[MayflyError], object],
    ) -> None:
        self._totals = totals
        self._arrived, self._lost = arrived, lost
        self._unwritable, self._failed = unwritable, failed
        self._calls, self._over = CallQueue(), False
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._calls, selectors.EVENT_READ)
        self.looked_at = time.monotonic()

    def open(self) -> None:
        """Start the thread."""
        in_background(self._run, name="answers of workers", failed=self._failed)

    def read(self, worker: WorkerHandle) -> None:
        """Read from another worker; called by another thread."""
        self._calls.put(self._selector.register, worker.channel, selectors.EVENT_READ, worker)

    def close(self, then: Callable[[], object]) -> None:
        """Read nothing more, and call a function after the last write; does not wait for it."""
        if not self._calls.put(self._end, then):
            then()

    def _end(self, then: Callable[[], object]) -> None:
        self._over = True
        # Write what had arrived when the pool closed the channels.
        for worker in [key.data for key in self._selector.get_map().values() if key.data]:
            while self._receive(worker):
                pass
        then()

    def _run(self) -> None:
        try:
            while not self._over:
                ready = self._selector.select(LOOK_EVERY_S)
                now = time.monotonic()
                for key, _ in ready:
                    if key.data is not None:
                        key.data.heard_at = now
                self.looked_at = now
                for key, _ in ready:
                    if key.data is None:
                        self._calls.clear()
                        for function, args in self._calls.drain():
                            function(*args)
                    else:
                        self._receive(key.data)
        finally:
            self._selector.close()
            for function, args in self._calls.close():
                if function == self._end:  # It cannot read any more, but others wait for it.
                    args[0]()

    def _receive(self, worker: WorkerHandle) -> bool:
        """Handle some of the messages that have arrived; return whether more may follow."""
        try:
            messages = worker.channel.receive()
        except (EOFError, OSError):
            self._selector.unregister(worker.channel)
            self._lost(worker)
            return False
        others = []
        for message in messages:
            if isinstance(message, Block):
                self._write(worker, message)
            else:
                others.append(message)
        if others:
            self._arrived(worker, others)
        return True

    def _write(self, worker: WorkerHandle, block: Block) -> None:
        if (task := worker.tasks.get(block.shard)) is None:
            return
        try:
            task.journal.write_lines(block.lines, block.rows)
        except Exception as error:  # noqa: BLE001 - whatever it is, the pool reports it
            self._unwritable(task, error)
            return
        self._totals.wrote(block.tally)
        if task.journal.is_behind:
            task.events.put(Unsynced(block.requests))
        else:
            task.send(Written(block.shard, block.requests))
