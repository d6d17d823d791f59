"""A worker and the shards that it was given, as the crew knows them."""

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress

from mayfly.models.rows import Tally
from mayfly.models.shards import Shard
from mayfly.workers.process import Carrier
from mayfly.workers.protocol import Assignment, Order, Report, Take


class Task:
    """A shard that is to be answered."""

    def __init__(
        self, shard: Shard, model: str, answered_all: Callable[[], object] = lambda: None
    ) -> None:
        self.order = Take(shard, model)
        self.answered_all = answered_all
        self.future: Future[Tally] = Future()
        self.deaths = 0


class Worker:
    """A worker and what it was given."""

    def __init__(self, number: int, place: Carrier) -> None:
        self.number, self.place = number, place
        self.tasks: dict[int, Task] = {}
        self.given = 0
        self.report: Report | None = None

    def tell(self, order: Order | Assignment) -> None:
        """Tell it something; if it is gone, its connection says so when it is read."""
        with suppress(OSError):
            self.place.connection.send(order)
