"""Choose slow rows for a second request (a hedge) when slots are empty at the end.

A replica's time is paid for whether it works or not, so a second request costs only its share of a
replica that is no longer full. What it saves depends on why latencies differ. The part that the
row's own length explains applies to the second request as well; the rest is chance (a queue, a
slow replica), which the second request draws again. So a latency is modelled as a prediction from
its work, a straight line fitted to recent ones, times a random factor. A row is worth a hedge if,
of all similar rows still in flight after as long, a hedge would have saved enough on average.

Source: the line is least squares; hedging itself is J. Dean, L. Barroso, "The Tail at Scale",
CACM, 2013.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

Key = TypeVar("Key")
One = TypeVar("One")

WINDOW = 1024
"""Number of latest latencies kept."""

MIN_SAMPLES = 20
"""Minimum latencies for deciding what is slow."""

MIN_SAVING = 0.05
"""Minimum saving of a second request, as a share of the mean latency."""

SLOW, SLOW_ALONE = 0.95, 0.99
"""Quantiles of latency above which a row is slow: with several replicas, and with one, where
another slot on the same replica is faster only by chance."""

HEDGE_BUDGET = 0.05
"""Maximum second requests, as a share of answered rows."""

LATENCIES, RESIDUALS = 48, 16
"""Sample sizes of latencies and random factors for computing savings."""

RECOMPUTE_EVERY = 64
"""Answers after which savings are recomputed."""


class Hedging:
    """Decides by recent latencies which requests to send a second time.

    Args:
        replicas: Ready replicas; with one, only much slower requests are hedged.
    """

    def __init__(self, *, replicas: int) -> None:
        self._several = replicas > 1
        self._recent: deque[tuple[float, float]] = deque(maxlen=WINDOW)
        self._answered = self._repeated = self._worked_out_at = 0
        self._mean_s = self._slow_s = 0.0
        self._ages_s: list[float] = []
        self._savings_s: list[float] = []

    @property
    def poll_every_s(self) -> float:
        """Interval for calling `worth_repeating`: a small part of the mean latency."""
        return min(max(self._mean_s / 20, 0.01), 0.5) if self._mean_s else 0.1

    def answered(self, latency_s: float, work: float) -> None:
        """Record an answer.

        Args:
            work: Predictor of the latency, such as tokens; only ratios matter.
        """
        self._recent.append((latency_s, work))
        self._answered += 1

    def worth_repeating(self, waited_s: Mapping[Key, float], *, room: int) -> Sequence[Key]:
        """Return the requests to hedge, the largest saving first, and count them.

        Args:
            waited_s: Time in flight of each request that is the only one of its row, in seconds.
            room: Slots that would be empty otherwise.
        """
        room = min(room, int(HEDGE_BUDGET * self._answered) - self._repeated)
        if self._answered < MIN_SAMPLES or room <= 0:
            return []
        if not self._worked_out_at or self._answered >= self._worked_out_at + RECOMPUTE_EVERY:
            self._work_out()
        worth_s = {key: self._saving_s(waited) for key, waited in waited_s.items()}
        chosen = [key for key, saved in worth_s.items() if saved >= MIN_SAVING * self._mean_s]
        chosen.sort(key=lambda key: -worth_s[key])
        self._repeated += len(chosen[:room])
        return chosen[:room]

    def _saving_s(self, waited_s: float) -> float:
        """Return the mean saving of a second request; slow requests go before all others."""
        if waited_s > self._slow_s:
            return WINDOW * waited_s
        if not self._several:
            return 0.0
        return self._savings_s[bisect_right(self._ages_s, waited_s) - 1]

    def _work_out(self) -> None:
        """Tabulate the saving of second requests by the first one's time in flight."""
        self._worked_out_at = self._answered
        recent = sorted(self._recent)
        rank = int((SLOW if self._several else SLOW_ALONE) * len(recent))
        self._slow_s = recent[rank][0] * (1.0 if self._several else 1.5)
        self._mean_s = sum(latency for latency, _ in recent) / len(recent)
        predicted = _line(recent)
        points = [(latency, predicted(work)) for latency, work in _spread(recent, LATENCIES)]
        lucks = _spread(sorted(latency / predicted(work) for latency, work in recent), RESIDUALS)
        self._ages_s = [0.0, *(latency for latency, _ in points)]
        self._savings_s = []
        for number, age_s in enumerate(self._ages_s):
            still_out = points[number:]
            saved = sum(
                max(0.0, latency - age_s - usual * luck)
                for latency, usual in still_out
                for luck in lucks
            )
            self._savings_s.append(saved / len(lucks) / max(len(still_out), 1))


def _spread(values: Sequence[One], count: int) -> Sequence[One]:
    """Return `count` evenly spaced values; all if there are fewer."""
    if len(values) <= count:
        return values
    return [values[int((number + 0.5) * len(values) / count)] for number in range(count)]


def _line(points: Sequence[tuple[float, float]]) -> Callable[[float], float]:
    """Return a function that predicts a latency from its work, by least squares.

    The line never decreases, and is at least a hundredth of the mean.
    """
    count = len(points)
    mean_s = sum(latency for latency, _ in points) / count
    mean_work = sum(work for _, work in points) / count
    spread = sum((work - mean_work) ** 2 for _, work in points)
    common = sum((latency - mean_s) * (work - mean_work) for latency, work in points)
    slope = max(common / spread, 0.0) if spread > 0 else 0.0
    least_s = max(mean_s / 100, 1e-9)

    def predicted(work: float) -> float:
        return max(mean_s + slope * (work - mean_work), least_s)

    return predicted
