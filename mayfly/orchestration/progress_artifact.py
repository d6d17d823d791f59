"""Publish a run's progress as a Prefect progress artifact.

A separate thread updates it every few seconds, so that a slow or unreachable Prefect server delays
neither answers nor teardown.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from typing import cast
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from mayfly.orchestration.artifacts import progress_line
from mayfly.orchestration.record import is_recorded
from mayfly.reporting.progress import Progress, Snapshot

UPDATE_EVERY_S = 3.0
"""Interval of updates; each takes about 10 ms on both sides."""


@contextmanager
def publish_progress(progress: Progress) -> Iterator[None]:
    """Publish the progress while the block lasts."""
    if not is_recorded():
        yield
        return
    over = threading.Event()
    # The copied context has the flow run that the artifact belongs to.
    context = copy_context()
    threading.Thread(
        target=context.run, args=(_follow, progress, over), name="progress artifact", daemon=True
    ).start()
    try:
        yield
    finally:
        over.set()


def _follow(progress: Progress, over: threading.Event) -> None:
    # An error of Prefect must not affect the run; only the artifact is missing then.
    with suppress(Exception):
        now = progress.snapshot()
        artifact = cast(
            "UUID",
            create_progress_artifact(
                progress=_percent(now),
                key="batch-inference-progress",
                description=progress_line(now),
            ),
        )
        while True:
            last = over.wait(UPDATE_EVERY_S)
            now = progress.snapshot()
            update_progress_artifact(
                artifact, progress=_percent(now), description=progress_line(now)
            )
            if last:
                return


def _percent(now: Snapshot) -> float:
    return 100 * now.done / max(now.rows, 1)
