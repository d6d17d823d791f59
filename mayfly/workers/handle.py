"""The pool's record of a worker and of its shards."""

import time
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import NamedTuple

from mayfly.storage.journal import Journal
from mayfly.workers.carrier import Carrier
from mayfly.workers.channel import Channel
from mayfly.workers.protocol import Assignment, Command, Ended, Report, RowsNeeded, Take


class WorkerLost(NamedTuple):
    """The worker of a shard is gone; another has to send its rows.

    Attributes:
        reason: How it ended, for messages.
    """

    reason: str


class Unsynced(NamedTuple):
    """Answers of a shard that are written, but the disk is far behind.

    Attributes:
        requests: Number of their requests, which are acknowledged once the disk has caught up.
    """

    requests: int


class ShardTask:
    """A shard that a worker sends; `events` go to the thread that waits for it.

    Attributes:
        journal: Where its answers are written.
        again: Whether an earlier worker was lost with it.
        worker: Its worker, once it has one.
    """

    def __init__(self, command: Take, journal: Journal, *, again: bool) -> None:
        self.command, self.journal, self.again = command, journal, again
        self.events: SimpleQueue[RowsNeeded | Unsynced | Ended | WorkerLost] = SimpleQueue()
        self.worker: WorkerHandle | None = None

    def send(self, message: Command) -> None:
        """Send a message to its worker."""
        if self.worker is not None:
            self.worker.send(message)


class WorkerHandle:
    """A worker and its shards.

    Args:
        stuck: Called, in any thread, when `channel` has left something to `flush`.

    Attributes:
        heard_at: When it has last sent something, on the monotonic clock.
        hung: Whether it is being replaced because it sends nothing.
    """

    def __init__(
        self, number: int, carrier: Carrier, stuck: Callable[["WorkerHandle"], object]
    ) -> None:
        self.number, self.carrier, self._stuck = number, carrier, stuck
        self.channel = Channel(carrier.connection)
        self.tasks: dict[int, ShardTask] = {}
        self.given = 0
        self.report: Report | None = None
        self.heard_at = time.monotonic()
        self.hung = False

    def send(self, message: Command | Assignment) -> None:
        """Send a message, in any thread; if the worker is gone, reading its channel shows it."""
        with suppress(OSError):
            if not self.channel.send(message):
                self._stuck(self)
