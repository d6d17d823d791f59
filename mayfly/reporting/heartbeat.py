"""The heartbeat of a run: figures over time, and a file by which others see that it lives."""

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
"""How long the last figures and the file's removal are waited for at the end."""


@contextmanager
def heartbeat(
    progress: Progress,
    show: Callable[[], None],
    path: Path,
    exporters: Sequence[Exporter] = (),
) -> Iterator[None]:
    """Sample the progress and write it to a file while the block lasts; then remove the file.

    The file is for people on whatever machine sees the folder; nothing depends on it, so that a
    disk that is full or gone does not end a run.

    Args:
        show: Brings the progress up to date.
        exporters: Have the figures as often as they are written, and once more at the end.
    """
    over = threading.Event()

    def beat() -> None:
        written_at = 0.0
        while not over.wait(EVERY_S):
            # A run that is being torn down has nothing left to show, and that is not its failure.
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
        # A disk that hangs holds up nobody.
        thread.join(LAST_S)


def _write(path: Path, progress: Progress) -> None:
    # Not synced: a heartbeat that a power cut takes away is none.
    new = path.with_suffix(".tmp")
    new.write_bytes(orjson.dumps({"at": time.time(), **numbers(progress.snapshot())}))
    new.replace(path)
