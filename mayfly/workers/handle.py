"""The pool's record of a worker and of its shards."""

import time
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, NamedTuple

from mayfly.workers.carrier import Carrier
from mayfly.workers.protocol import Assignment, Block, Command, Ended, Report, RowsNeeded, Take


class WorkerLost(NamedTuple):
    """The worker of a shard is gone; another has to send its rows.

    Attributes:
        reason: How it ended, for messages.
    """

    reason: str


class ShardTask:
    """A shard that a worker sends; `events` go to the thread that waits for it.

    Attributes:
        again: Whether an earlier worker was lost with it.
        worker: Number of its worker, or 0.
    """

    def __init__(self, command: Take, *, again: bool) -> None:
        self.command, self.again = command, again
        self.events: SimpleQueue[RowsNeeded | Block | Ended | WorkerLost] = SimpleQueue()
        self.worker = 0


class WorkerHandle:
    """A worker and its shards."""

    def __init__(self, number: int, carrier: Carrier) -> None:
        self.number, self.carrier = number, carrier
        self.tasks: dict[int, ShardTask] = {}
        self.given = 0
        self.report: Report | None = None
        self.heard_at = time.monotonic()

    def send(self, message: Command | Assignment | Any) -> None:
        """Send a message; if the worker is gone, reading its connection shows it."""
        with suppress(OSError):
            self.carrier.connection.send(message)
