"""Clocks of the emulator: a real one that may run faster, and a manual one for tests.

All times inside the emulator are emulated seconds since the server's start (`now_s`); timestamps in
responses are `epoch` plus that.
"""

import asyncio
import heapq
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Protocol of a clock.

    Attributes:
        epoch: The wall-clock time of second 0.
        speed: Emulated seconds per real second; 0 for a manual clock.
    """

    epoch: datetime
    speed: float

    def now_s(self) -> float:
        """Return the emulated seconds since the start; monotonic."""

    async def sleep(self, seconds: float) -> None:
        """Wait for emulated seconds."""

    def advance(self, seconds: float) -> None:
        """Advance by emulated seconds (ValueError if negative)."""

    def on_advance(self, listener: Callable[[], None]) -> None:
        """Call `listener` after every `advance`, before it returns."""


def wire_time(clock: Clock, at_s: float) -> str:
    """Return an RFC 3339 timestamp with microseconds and `Z`, as the API does."""
    moment = clock.epoch + timedelta(seconds=at_s)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _checked(seconds: float) -> float:
    if not seconds >= 0:
        raise ValueError(f"a clock cannot be moved by {seconds} s; give 0 or more")
    return seconds


class RealClock:
    """Runs by itself, `speed` times as fast as real time."""

    def __init__(self, speed: float = 1.0) -> None:
        """Start at second 0.

        Args:
            speed: Emulated seconds in a real second, above 0.
        """
        if not speed > 0:
            raise ValueError(f"speed {speed} is not above 0; 60 makes a minute a second")
        self.speed = speed
        self.epoch = datetime.now(UTC)
        # A single value, so that other threads see a consistent state.
        self._frame = (time.monotonic(), 0.0, speed)
        self._listeners: list[Callable[[], None]] = []

    def now_s(self) -> float:
        start, base_s, speed = self._frame
        return (time.monotonic() - start) * speed + base_s

    def run_at(self, speed: float) -> None:
        """Change the speed; pending sleeps are not affected."""
        start, base_s, before = self._frame
        now = time.monotonic()
        self._frame = (now, (now - start) * before + base_s, speed)
        self.speed = speed

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self.speed)

    def advance(self, seconds: float) -> None:
        start, base_s, speed = self._frame
        self._frame = (start, base_s + _checked(seconds), speed)
        for listener in self._listeners:
            listener()

    def on_advance(self, listener: Callable[[], None]) -> None:
        self._listeners.append(listener)


class ManualClock:
    """A clock that moves only by `advance`; for tests.

    Answers come at once, regardless of their service time, unless `holds_answers` is set: then a
    request waits until the clock has been advanced past its end.
    """

    def __init__(
        self, *, epoch: datetime = datetime(2026, 11, 1, tzinfo=UTC), holds_answers: bool = False
    ) -> None:
        """Start at second 0, which is `epoch` in responses."""
        self.speed = 0.0
        self.epoch = epoch
        self._holds_answers = holds_answers
        self._now_s = 0.0
        self._lock = threading.Lock()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0
        self._listeners: list[Callable[[], None]] = []

    def now_s(self) -> float:
        return self._now_s

    async def sleep(self, seconds: float) -> None:
        if not self._holds_answers:
            await asyncio.sleep(0)
            return
        future = asyncio.get_running_loop().create_future()
        with self._lock:
            self._count += 1
            heapq.heappush(self._sleepers, (self._now_s + seconds, self._count, future))
        await future

    @property
    def sleepers(self) -> int:
        """Number of answers that wait for the clock."""
        with self._lock:
            return sum(not future.done() for _, _, future in self._sleepers)

    def advance(self, seconds: float) -> None:
        with self._lock:
            self._now_s += _checked(seconds)
            due: list[asyncio.Future[None]] = []
            while self._sleepers and self._sleepers[0][0] <= self._now_s:
                due.append(heapq.heappop(self._sleepers)[2])
        for listener in self._listeners:
            listener()
        for future in due:
            future.get_loop().call_soon_threadsafe(_wake, future)

    def on_advance(self, listener: Callable[[], None]) -> None:
        self._listeners.append(listener)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
