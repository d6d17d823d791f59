"""Things to be done, left by any thread for the one that does them."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

Errand = tuple[Callable[..., object], tuple[Any, ...]]


class CallQueue:
    """A queue that wakes a thread which waits for file descriptors.

    Attributes:
        closed: Whether nothing that is left will be done any more.
    """

    def __init__(self) -> None:
        self.closed = False
        self._waiting: deque[Errand] = deque()
        self._leaving = threading.Lock()
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._wake, False)

    def fileno(self) -> int:
        """Return the descriptor that is readable when something was left."""
        return self._woken

    def leave(self, function: Callable[..., object], *args: object) -> bool:
        """Leave something to be done; whether it will be."""
        with self._leaving:
            if self.closed:
                return False
            self._waiting.append((function, args))
            # A pipe that is full wakes as well.
            with suppress(BlockingIOError):
                os.write(self._wake, b".")
        return True

    def heard(self) -> None:
        """Take note of the wake-ups so far."""
        os.read(self._woken, 65536)

    def taken(self) -> Iterator[Errand]:
        """Yield what was left, until there is nothing more."""
        while self._waiting:
            yield self._waiting.popleft()

    def close(self) -> list[Errand]:
        """Take nothing more; return what was left and will not be done."""
        with self._leaving:
            self.closed = True
            os.close(self._woken)
            os.close(self._wake)
        return list(self._waiting)
