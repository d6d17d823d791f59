"""A worker and the shards that it was given, as the pool knows them."""

import time
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, NamedTuple

from mayfly.workers.carrier import Carrier
from mayfly.workers.protocol import Assignment, Block, Ended, Order, Report, Take, WantRows


class WorkerLost(NamedTuple):
    """The worker that had a shard is gone; its rows have to be sent by another.

    Attributes:
        reason: What became of it, in words.
    """

    reason: str


class ShardTask:
    """A shard that a worker sends; `events` are for the thread that waits for it.

    Attributes:
        again: Whether another worker was lost with it.
        worker: Number of the worker that has it, or 0.
    """

    def __init__(self, order: Take, *, again: bool) -> None:
        self.order, self.again = order, again
        self.events: SimpleQueue[WantRows | Block | Ended | WorkerLost] = SimpleQueue()
        self.worker = 0


class WorkerHandle:
    """A worker and what it was given."""

    def __init__(self, number: int, carrier: Carrier) -> None:
        self.number, self.carrier = number, carrier
        self.tasks: dict[int, ShardTask] = {}
        self.given = 0
        self.report: Report | None = None
        self.heard_at = time.monotonic()

    def send(self, message: Order | Assignment | Any) -> None:
        """Send it a message; if it is gone, its connection says so when it is read."""
        with suppress(OSError):
            self.carrier.connection.send(message)
