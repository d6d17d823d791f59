"""What carries a worker: a process of this machine, or one of a cluster."""

from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Protocol

from mayfly.models.errors import MayflyError
from mayfly.workers.protocol import Assignment


class Carrier(Protocol):
    """A worker as the run sees it.

    Attributes:
        name: What people know it by.
        connection: To the worker; it ends when the worker does.
        hang_s: How long it may report nothing before it is given up, in seconds.
        outlives_s: How long requests may go on after it was lost: its connection may end before
            the worker does.
        outlives_hang_s: The same where it was given up because it reported nothing.
    """

    name: str
    connection: "Connection[Any, Any]"
    hang_s: float
    outlives_s: float
    outlives_hang_s: float

    def brief(self, assignment: Assignment) -> Assignment:
        """Return the assignment as this worker may have it."""

    def end(self, *, hung: bool = False) -> str:
        """End it, if it has not ended; return what became of it, in words.

        Must not block for long.

        Args:
            hung: Whether it reports nothing, so that it will not end when it is asked to.
        """


Join = Callable[[Carrier], bool]
"""Gives a worker to the pool; returns whether the pool takes it."""

Fail = Callable[[MayflyError], object]


class Fleet(Protocol):
    """Where a pool's workers come from.

    Attributes:
        size: How many there are at first.
    """

    size: int

    def open(self, join: Join, fail: Fail) -> int:
        """Start workers, in threads of its own; return how many to wait for.

        Args:
            join: Called with each worker that is ready to be told what to do, at any time.
            fail: Called when no workers will come.
        """

    def lost(self, carrier: Carrier, reason: str, *, ready: bool) -> int:
        """Take note that a worker was lost; return how many come at once to replace it.

        Must not block.

        Args:
            ready: Whether it has ever reported.

        Raises:
            MayflyError: Others would be lost in the same way.
        """

    def close(self) -> None:
        """Start no more workers; those that have joined are the pool's to end."""
