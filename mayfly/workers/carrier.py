"""Protocols of what runs a worker: a local process, or a Dask worker."""

from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Protocol

from mayfly.models.errors import MayflyError
from mayfly.workers.protocol import Assignment


class Carrier(Protocol):
    """The process that a worker runs in.

    Attributes:
        name: Name for messages.
        connection: Connection to the worker; it closes when the worker ends.
        hang_s: Seconds without a report after which the worker is replaced.
        outlives_s: Seconds for which requests may continue after the worker was lost: its
            connection may close before the worker ends.
        outlives_hang_s: The same for a worker that was replaced for lack of reports.
    """

    name: str
    connection: "Connection[Any, Any]"
    hang_s: float
    outlives_s: float
    outlives_hang_s: float

    def brief(self, assignment: Assignment) -> Assignment:
        """Return the assignment with what this worker may receive."""

    def end(self, *, hung: bool = False) -> str:
        """End the process if it runs; return how it ended, for messages.

        Must not block for long.

        Args:
            hung: Whether it does not respond, and has to be killed.
        """


Join = Callable[[Carrier], bool]
"""Adds a worker to the pool; returns whether the pool accepts it."""

Fail = Callable[[MayflyError], object]

Absent = Callable[[], object]
"""Reports that a worker that is waited for will not start."""


class Fleet(Protocol):
    """Starts the workers of a pool.

    Attributes:
        size: Initial number of workers.
    """

    size: int

    def open(self, join: Join, fail: Fail, absent: Absent) -> int:
        """Start workers in background threads; return how many to wait for.

        Args:
            join: Called at any time with each worker that is ready for commands.
            fail: Called when no workers will start.
            absent: Called for each of the workers to wait for that will not start.
        """

    def lost(self, carrier: Carrier, reason: str, *, ready: bool) -> int:
        """Handle the loss of a worker; return how many replacements are starting.

        Must not block.

        Args:
            ready: Whether it has ever reported.

        Raises:
            MayflyError: A replacement would be lost in the same way.
        """

    def close(self) -> None:
        """Start no more workers; the pool ends those that have joined."""
