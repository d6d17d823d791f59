"""Which writes are under way, and since when: a disk that hangs reports no error."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class WriteUnderWay(NamedTuple):
    """A write that has not returned yet.

    Attributes:
        seconds: How long it has been under way.
    """

    path: Path
    seconds: float


class WriteWatch:
    """Knows the writes that are under way, one for each thread.

    Args:
        clock: Seconds on a clock that only goes forward.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # Each thread sets and removes an entry of its own, which needs no lock.
        self._began: dict[int, tuple[float, Path]] = {}

    def begin(self, path: Path) -> None:
        """Note that this thread begins to write to a file."""
        self._began[threading.get_ident()] = self._clock(), path

    def end(self) -> None:
        """Note that this thread's write has returned, however."""
        self._began.pop(threading.get_ident(), None)

    def longest(self) -> WriteUnderWay | None:
        """Return the write that has been under way for longest; None where there is none."""
        began = min([*self._began.values()], default=None)
        return None if began is None else WriteUnderWay(began[1], self._clock() - began[0])
