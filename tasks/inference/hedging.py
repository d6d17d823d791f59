"""Which slow rows are worth a second request, when the places at the end stay empty.

A replica's time is paid for whether it works or not, so a second request costs nothing but its
share of a replica that is no longer full. It helps when the first one is slow for a reason that
is not the row's own: a replica that lags, or is about to be lost.
"""

from bisect import insort
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TypeVar

Key = TypeVar("Key")

KEPT = 1024
"""Latencies remembered: the last so many."""

ENOUGH = 20
"""Fewer latencies than this do not tell what is slow."""

SLOW, SLOW_ALONE = 0.95, 0.99
"""What counts as slow, as a share of answers that were quicker: with several replicas, and with
one, where another place on the same replica has to be quicker by luck."""

AT_MOST = 0.05
"""Second requests at most, as a share of the places."""


class Hedging:
    """Knows recent latencies; decides which requests are slow enough to be sent again.

    Args:
        replicas: Ready replicas; with one, only far slower requests are repeated.
    """

    def __init__(self, *, replicas: int) -> None:
        self._replicas = replicas
        self._recent: deque[float] = deque()
        self._sorted: list[float] = []

    def answered(self, latency_s: float) -> None:
        """Take note of a latency, in seconds."""
        self._recent.append(latency_s)
        insort(self._sorted, latency_s)
        if len(self._recent) > KEPT:
            self._sorted.remove(self._recent.popleft())

    def worth_repeating(self, waited_s: Mapping[Key, float], *, room: int) -> Sequence[Key]:
        """Return which requests to send again, the slowest first.

        Args:
            waited_s: For each request under way, how long it has been, in seconds.
            room: Places that stay empty otherwise.
        """
        if len(self._sorted) < ENOUGH:
            return []
        several = self._replicas > 1
        place = int((SLOW if several else SLOW_ALONE) * len(self._sorted))
        threshold_s = self._sorted[place] * (1.0 if several else 1.5)
        slow = [key for key, waited in waited_s.items() if waited > threshold_s]
        slow.sort(key=lambda key: -waited_s[key])
        return slow[: max(1, int(AT_MOST * (room + len(waited_s))))][:room]
