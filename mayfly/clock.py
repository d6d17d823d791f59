"""Clocks: a run reads the time and sleeps through one, so that tests can pass another."""

import time
from typing import Final, Protocol


class Clock(Protocol):
    """Reads the time and sleeps; a test passes a faster clock."""

    def time(self) -> float:
        """Return Unix time, in seconds: for names, leases and records."""

    def monotonic(self) -> float:
        """Return seconds on a clock that only goes forward: for durations and limits."""

    def sleep(self, seconds: float) -> None:
        """Sleep for `seconds` of this clock."""


class SystemClock:
    """The machine's clock."""

    def time(self) -> float:
        """Return Unix time, in seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds on a clock that only goes forward."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Sleep for `seconds`."""
        time.sleep(seconds)


SYSTEM_CLOCK: Final[Clock] = SystemClock()
