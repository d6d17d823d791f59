"""The heartbeat of a run: sample its figures, and write them to a file for `mayfly status`."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import orjson

from mayfly.reporting.metrics import Exporter
from mayfly.reporting.progress import Progress, numbers

EVERY_S = 0.1
WRITE_EVERY_S = 2.0
LAST_S = 5.0
"""Seconds to wait at the end for the last figures and the removal of the file."""


@contextmanager
def heartbeat(
    progress: Progress,
    show: Callable[[], None],
    path: Path,
    exporters: Sequence[Exporter] = (),
) -> Iterator[None]:
    """Sample the progress and write it to a file while the block lasts; then remove the file.

    The file is for people on any machine that has the folder. Nothing depends on it, so a full or
    missing disk does not end a run.

    Args:
        show: Updates the progress.
        exporters: Get the figures whenever they are written, and once at the end.
    """
    over = threading.Event()

    def beat() -> None:
        written_at = 0.0
        while not over.wait(EVERY_S):
            # During a teardown there may be nothing to show; that must not fail the run.
            with suppress(Exception):
                show()
            progress.sample()
            if time.monotonic() - written_at >= WRITE_EVERY_S:
                written_at = time.monotonic()
                with suppress(OSError):
                    _write(path, progress)
                for exporter in exporters:
                    with suppress(Exception):
                        exporter.update(progress)
        with suppress(OSError):
            path.unlink(missing_ok=True)
        for exporter in exporters:
            with suppress(Exception):
                exporter.close(progress)

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        # A hanging disk must not delay the end of the run.
        thread.join(LAST_S)


def _write(path: Path, progress: Progress) -> None:
    # Not synced: after a power cut there is no run to report.
    new = path.with_suffix(".tmp")
    new.write_bytes(orjson.dumps({"at": time.time(), **numbers(progress.snapshot())}))
    new.replace(path)
