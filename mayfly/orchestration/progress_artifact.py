"""A run's progress as Prefect shows it: one artifact that moves.

One thread is the only one to update it, every few seconds. It has nothing to do with the run's
own way: a Prefect server that is slow or gone holds up no answer and no teardown.
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
"""An update costs both sides 10 ms."""


@contextmanager
def publish_progress(progress: Progress) -> Iterator[None]:
    """Show how far the answering is for as long as the block lasts."""
    if not is_recorded():
        yield
        return
    over = threading.Event()
    # The copy carries the flow run, to which the artifact belongs.
    context = copy_context()
    threading.Thread(
        target=context.run, args=(_follow, progress, over), name="progress artifact", daemon=True
    ).start()
    try:
        yield
    finally:
        over.set()


def _follow(progress: Progress, over: threading.Event) -> None:
    # Whatever Prefect answers, the run goes on; a picture of it is missing, that is all.
    with suppress(Exception):
        look = progress.snapshot()
        artifact = cast(
            "UUID",
            create_progress_artifact(
                progress=_percent(look),
                key="batch-inference-progress",
                description=progress_line(look),
            ),
        )
        while True:
            last = over.wait(UPDATE_EVERY_S)
            look = progress.snapshot()
            update_progress_artifact(
                artifact, progress=_percent(look), description=progress_line(look)
            )
            if last:
                return


def _percent(look: Snapshot) -> float:
    return 100 * look.done / max(look.rows, 1)
