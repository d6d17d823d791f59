"""The time, as a parameter: a run reads it, and waits, through one of these."""

import time
from typing import Final, Protocol


class Clock(Protocol):
    """What tells the time; a test passes one that runs faster."""

    def time(self) -> float:
        """Return Unix time, in seconds: for names, leases and records."""

    def monotonic(self) -> float:
        """Return seconds on a clock that only goes forward: for durations and limits."""

    def sleep(self, seconds: float) -> None:
        """Wait for so many seconds of this clock."""


class SystemClock:
    """The machine's own clock."""

    def time(self) -> float:
        """Return Unix time, in seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds on a clock that only goes forward."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait for so many seconds."""
        time.sleep(seconds)


SYSTEM_CLOCK: Final[Clock] = SystemClock()
