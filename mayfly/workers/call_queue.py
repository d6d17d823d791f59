"""A thread-safe call queue for a thread that waits on file descriptors."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

Call = tuple[Callable[..., object], tuple[Any, ...]]


class CallQueue:
    """A queue of calls; a pipe wakes the thread that executes them.

    Attributes:
        closed: Whether calls are no longer accepted.
    """

    def __init__(self) -> None:
        self.closed = False
        self._waiting: deque[Call] = deque()
        self._leaving = threading.Lock()
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._wake, False)

    def fileno(self) -> int:
        """Return the descriptor that is readable while calls are queued."""
        return self._woken

    def put(self, function: Callable[..., object], *args: object) -> bool:
        """Queue a call; return False when the queue is closed."""
        with self._leaving:
            if self.closed:
                return False
            self._waiting.append((function, args))
            # A full pipe wakes the thread as well.
            with suppress(BlockingIOError):
                os.write(self._wake, b".")
        return True

    def clear(self) -> None:
        """Clear the wake-ups so far."""
        os.read(self._woken, 65536)

    def drain(self) -> Iterator[Call]:
        """Remove and yield queued calls until the queue is empty."""
        while self._waiting:
            yield self._waiting.popleft()

    def close(self) -> list[Call]:
        """Close the queue; return the calls that will not be executed."""
        with self._leaving:
            self.closed = True
            os.close(self._woken)
            os.close(self._wake)
        return list(self._waiting)
