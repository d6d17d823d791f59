"""Choose rows that are worth a second request when slots stay empty at the end.

A replica's time is paid for whether it works or not, so a second request costs nothing but its
share of a replica that is no longer full. What it may save depends on why latencies differ. What
a row's own length explains, the second request has to wait for as well; what it does not explain
is luck (a queue, a replica that lags), and the second request draws again. So a latency is taken
apart into what its work predicts, by a straight line through recent ones, times luck, and a row
is worth repeating when, of all rows like it that were still out after as long, a second request
would have saved enough on the mean.

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
"""Latencies remembered: the last so many."""

MIN_SAMPLES = 20
"""Fewer latencies than this do not tell what is slow."""

MIN_SAVING = 0.05
"""What a second request has to save to be worth it, as a share of the mean latency."""

SLOW, SLOW_ALONE = 0.95, 0.99
"""What counts as slow, as a share of answers that were quicker: with several replicas, and with
one, where another slot on the same replica has to be quicker by luck."""

HEDGE_BUDGET = 0.05
"""Second requests at most, as a share of the rows that were answered: so much more, in tokens,
may be asked twice."""

LATENCIES, RESIDUALS = 48, 16
"""Latencies and draws of luck that stand for all when savings are worked out."""

RECOMPUTE_EVERY = 64
"""Answers after which they are worked out anew."""


class Hedging:
    """Knows recent latencies; decides which requests are to be sent again.

    Args:
        replicas: Ready replicas; with one, only far slower requests are repeated.
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
        """How often it is worth asking: often enough that waiting to be asked costs little."""
        return min(max(self._mean_s / 20, 0.01), 0.5) if self._mean_s else 0.1

    def answered(self, latency_s: float, work: float) -> None:
        """Note an answer.

        Args:
            work: What predicts a latency, such as tokens; only ratios matter.
        """
        self._recent.append((latency_s, work))
        self._answered += 1

    def worth_repeating(self, waited_s: Mapping[Key, float], *, room: int) -> Sequence[Key]:
        """Return which requests to send again, those that save most first, and count them.

        Args:
            waited_s: For each request that is alone under way for its row, how long, in seconds.
            room: Slots that stay empty otherwise.
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
        """Return what a second request saves on the mean; slow ones go before all others."""
        if waited_s > self._slow_s:
            return WINDOW * waited_s
        if not self._several:
            return 0.0
        return self._savings_s[bisect_right(self._ages_s, waited_s) - 1]

    def _work_out(self) -> None:
        """Tabulate what second requests save, by how long the first has been under way."""
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
    """Return so many of them, evenly spread; all, if there are no more."""
    if len(values) <= count:
        return values
    return [values[int((number + 0.5) * len(values) / count)] for number in range(count)]


def _line(points: Sequence[tuple[float, float]]) -> Callable[[float], float]:
    """Return what predicts a latency from its work: the line with the least squares.

    It never falls, and is never below a hundredth of the mean.
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
