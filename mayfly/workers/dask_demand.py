"""Request workers from an adaptive Dask cluster.

Dask computes the number of workers from waiting tasks: a task of an unknown kind counts as half a
second, and each target duration of 5 s needs one worker. So tasks that no worker can take, because
none has the required resource, request a number of workers.
Source: distributed 2026.8, `Scheduler.adaptive_target`; settings `distributed.scheduler`
`unknown-task-duration`, `distributed.adaptive.target-duration`.
"""

from contextlib import suppress
from typing import Any, Self

TASKS_PER_WORKER = 10

MOST_ASKED = 64
"""The cluster's own maximum is below; more tasks than this only cost the scheduler."""


class Demand:
    """The number of requested workers; a context manager that requests none at its end."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._tasks: list[Any] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.ask_for(0)

    def ask_for(self, workers: int) -> None:
        """Replace the number of requested workers."""
        count = TASKS_PER_WORKER * min(workers, MOST_ASKED)
        with suppress(Exception):  # A lost scheduler starts none.
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
    """Do nothing; it never runs."""
