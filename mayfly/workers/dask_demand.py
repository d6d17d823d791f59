"""Asks a Dask cluster that adapts to its load for workers.

Dask reckons how many workers it needs from tasks that wait: each of a kind that it has never seen
run counts as half a second, and a worker is wanted for each target duration of 5 s. So tasks that
no worker can take, because none has what they ask for, are a number of workers that is asked for.
Source: distributed 2026.8, `Scheduler.adaptive_target`; settings `distributed.scheduler`
`unknown-task-duration`, `distributed.adaptive.target-duration`.
"""

from contextlib import suppress
from types import TracebackType
from typing import Any, Self

TASKS_PER_WORKER = 10

MOST_ASKED = 64
"""The cluster's own maximum is below; more tasks than this only cost the scheduler."""


class Demand:
    """Workers that are asked for; a context manager that ends by asking for none."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._tasks: list[Any] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.ask_for(0)

    def ask_for(self, workers: int) -> None:
        """Ask for so many workers in place of what was asked for before."""
        count = TASKS_PER_WORKER * min(workers, MOST_ASKED)
        with suppress(Exception):  # A scheduler that is gone starts none.
            if len(self._tasks) > count:
                self._client.cancel(self._tasks[count:])
                del self._tasks[count:]
            elif len(self._tasks) < count:
                self._tasks += self._client.map(
                    wanted,
                    range(len(self._tasks), count),
                    pure=False,
                    resources={"mayfly-asks-for-workers": 1},
                )


def wanted(_number: int) -> None:
    """Do nothing: it is never run."""
