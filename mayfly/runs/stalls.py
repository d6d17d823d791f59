"""Detect a run that makes no progress while its endpoint bills: a hanging disk or template.

A hang raises no error. It shows as a write of answers that does not return, or as an endpoint that
gets no requests although rows are left.
"""

from collections.abc import Callable

from mayfly.clock import Clock
from mayfly.inference.row_stream import Snapshot
from mayfly.models.durations import span
from mayfly.models.errors import RunStalled
from mayfly.models.timeouts import Timeouts
from mayfly.storage.write_watch import WriteWatch


class StallDetector:
    """Monitors the writes of answers, and whether rows are sent.

    Args:
        writes: The writes to the run's journals.
        read: Returns a counter that grows while rows are read.
        output: Name of the output folder for messages.
    """

    def __init__(
        self,
        writes: WriteWatch,
        read: Callable[[], int],
        *,
        output: str,
        timeouts: Timeouts,
        clock: Clock,
    ) -> None:
        self._writes, self._read, self._output = writes, read, output
        self._hang_s, self._idle_s = timeouts.write_hang_s, timeouts.idle_s
        self._clock = clock
        self._moved_at = clock.monotonic()
        self._last: tuple[int, int] | None = None

    def begin(self) -> None:
        """Reset the detector: rows will be sent from now on."""
        self._moved_at, self._last = self._clock.monotonic(), None

    def check(self, engine: Snapshot) -> None:
        """Check that answers are written, and that rows are sent while rows are left.

        Raises:
            RunStalled: Neither progress of one kind was made for too long.
        """
        write = self._writes.longest()
        if write is not None and write.seconds > self._hang_s:
            raise RunStalled(
                f"output {self._output} has accepted no answers for {span(write.seconds)} "
                f"(journal {write.path.name}); check its disk, then run the same command again"
            )
        now = self._clock.monotonic()
        moved = engine.tally.done, self._read()
        if moved != self._last or engine.in_flight or engine.waiting:
            self._last, self._moved_at = moved, now
        elif now - self._moved_at > self._idle_s:
            raise RunStalled(
                f"no row could be read, rendered or written for {span(now - self._moved_at)}, "
                "though rows are left; check the disks of the input and of --output, then run the "
                "same command again"
            )
