"""A queue of events in the order of emulated time."""

import heapq
from collections.abc import Callable

from together_emulator.state.clock import Clock


class Timeline:
    """Runs due events when it is settled, each at its own emulated time.

    After an hour without requests, the events of that hour run in order, so that states and bills
    do not depend on when requests arrive.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self.now_s = clock.now_s()

    def after(self, seconds: float, event: Callable[[], None]) -> None:
        """Run `event` that many emulated seconds from now (from the event that schedules it)."""
        self._count += 1
        heapq.heappush(self._due, (self.now_s + seconds, self._count, event))

    def settle(self) -> float:
        """Run all events that are due; return the clock's time."""
        target = self._clock.now_s()
        while self._due and self._due[0][0] <= target:
            at_s, _, event = heapq.heappop(self._due)
            self.now_s = max(self.now_s, at_s)
            event()
        self.now_s = max(self.now_s, target)
        return self.now_s
