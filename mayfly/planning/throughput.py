"""What one replica does in a second: guessed from the catalogue, learned from runs, measured.

The unit is work: one for each token of an answer, and a twentieth for each token of a prompt that
has to be read. So that a run of long prompts and short answers teaches something about one of
short prompts and long answers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from mayfly.models.offers import Offer, same_hardware
from mayfly.planning.measurements import Measurement
from mayfly.planning.tokens import Workload
from mayfly.planning.uncertainty import Estimate, Interval, weighed

PROMPT_WORK = 1 / 20
"""Work of one prompt token. Reading a prompt is one batched pass; writing an answer is one pass
for each token, shared by all requests in flight."""

STREAMS = Estimate(40.0, 0.9)
"""How many times the catalogue's tokens per second a replica does with its places filled. Whether
that figure is of a stream or of a replica is not said, hence the doubt: 9 to 176."""

UNPUBLISHED = Estimate(1000.0, 1.2)
"""Work per second and dollar per hour where the catalogue gives no figure at all."""

LEARNED_SPREAD = 0.1
"""Doubt of a rate that finished runs have measured: one run differs from the next."""

PLACES = 128.0
"""Requests in flight that one replica takes, while that is not known."""

COLD_START_S = Interval(5.0, 420.0, 1200.0)
"""From the create to READY, while no run has seen it: 5-10 minutes for a small model, up to 20
the first time, and no time to speak of where weights are loaded already.
Source: Together API, dedicated model inference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """What is believed of one kind of hardware for one model.

    Attributes:
        work_per_s: Of one replica.
        measured: Whether a run or a calibration has measured it.
        places: Requests in flight on one replica.
        basis: Where the figure comes from, in words.
    """

    work_per_s: Estimate
    measured: bool = False
    places: float = PLACES
    cold_start_s: Interval = COLD_START_S
    basis: str = ""


def work_per_row(load: Workload) -> Estimate:
    """Return the work of one row."""
    return load.answer.plus(load.prompt.scaled(PROMPT_WORK))


def work(prompt_tokens: float, cached_tokens: float, completion_tokens: float) -> float:
    """Return the work of what was answered."""
    return completion_tokens + PROMPT_WORK * max(0.0, prompt_tokens - cached_tokens)


def believed(
    offer: Offer, *, model: str, past: Sequence[Measurement], offers: Sequence[Offer]
) -> Rate:
    """Return what is believed of an offer before a run.

    Args:
        past: Finished runs with the same provider, oldest first.
        offers: All of the model: where one has no published figure, the others tell what a dollar
            buys.
    """
    mine = [
        record
        for record in past
        if record.model == model and same_hardware(record.hardware, offer.hardware)
    ]
    cold_start_s = cold_start([record.cold_start_s for record in mine])
    measured = [record for record in mine if record.work_per_s > 0]
    if measured:
        # Later runs count more: drivers, engines and neighbours change.
        recent = measured[-8:]
        told = weighed(
            Estimate(record.work_per_s, LEARNED_SPREAD * 1.25**age)
            for age, record in enumerate(reversed(recent))
        )
        return Rate(
            work_per_s=Estimate(told.mid, max(told.spread, LEARNED_SPREAD)),
            measured=True,
            places=max(1.0, recent[-1].in_flight or PLACES),
            cold_start_s=cold_start_s,
            basis=f"measured in {len(measured)} run{'s' if len(measured) > 1 else ''}",
        )
    if offer.tokens_per_s:
        return Rate(
            work_per_s=STREAMS.scaled(offer.tokens_per_s),
            cold_start_s=cold_start_s,
            basis="catalogue",
        )
    published = [o.tokens_per_s / o.price_usd_per_h for o in offers if o.tokens_per_s]
    if published:
        per_dollar = STREAMS.scaled(sum(published) / len(published)).wider(0.6)
        basis = "guess from its price"
    else:
        per_dollar, basis = UNPUBLISHED, "guess, no benchmark of this model"
    return Rate(
        work_per_s=per_dollar.scaled(offer.price_usd_per_h), cold_start_s=cold_start_s, basis=basis
    )


def cold_start(seen_s: Sequence[float]) -> Interval:
    """Return how long a start takes: as seen before, with room for a slower one."""
    found = [seconds for seconds in seen_s if seconds > 0][-8:]
    if not found:
        return COLD_START_S
    return Interval(min(found) * 0.4, found[-1], max(found) * 1.6)


def two_points(
    few: tuple[float, float], many: tuple[float, float], places: float
) -> tuple[float, float]:
    """Return the work per second at `places` in flight, and the places that are worth filling.

    With n requests in flight each takes longer in proportion: latency(n) = a + b n, so that a
    replica's total n / (a + b n) grows towards 1 / b. Two measurements give a and b.

    Args:
        few, many: (requests in flight, seconds for one unit of work of one request), twice.
        places: To go to, at least as many as were measured.
    """
    (n1, s1), (n2, s2) = sorted((few, many))
    slope = max(0.0, (s2 - s1) / (n2 - n1)) if n2 > n1 else s1 / n1 if n1 else 0.0
    start = max(s1 - slope * n1, 0.0)
    at = max(places, n2)
    return at / (start + slope * at), at


def met_in_flight(spans: Sequence[tuple[float, float]]) -> float:
    """Return how many requests one met in flight on average, itself included.

    That is the integral of n² over that of n: moments at which many were on their way count for
    as many, and idle time between them for none.

    Args:
        spans: (sent, answered) of each request, in seconds on one clock.
    """
    events = sorted([(sent, 1) for sent, _ in spans] + [(answered, -1) for _, answered in spans])
    squares = whole = 0.0
    count, at = 0, events[0][0] if events else 0.0
    for moment, change in events:
        squares += (moment - at) * count * count
        whole += (moment - at) * count
        count, at = count + change, moment
    return squares / whole if whole > 0 else 1.0


@dataclass(slots=True)
class Throughput:
    """The rows that one replica answers in a second, measured over the last minutes of a run.

    Rows, not tokens: what is wanted is when the rows will be done. Not counted is the time until
    the first answers are back, when replicas fill up.

    Attributes:
        window_s: What is older does not count.
    """

    window_s: float = 300.0
    _marks: list[tuple[float, int, float]] = field(default_factory=list, repr=False)
    """(time, rows done, replica-seconds) at each look."""

    def look(self, now_s: float, rows_done: int, replica_s: float) -> None:
        """Take note of how far the run is; looks go forward in time."""
        if not self._marks and rows_done == 0:
            return
        self._marks.append((now_s, rows_done, replica_s))
        while len(self._marks) > 2 and now_s - self._marks[1][0] >= self.window_s:
            self._marks.pop(0)

    def forget(self) -> None:
        """Begin anew: on another endpoint, or after it was stopped."""
        self._marks.clear()

    @property
    def rows(self) -> int:
        """Rows answered in the window."""
        return self._marks[-1][1] - self._marks[0][1] if self._marks else 0

    def measured(self, places: float) -> Estimate | None:
        """Return rows per second and replica; None before there is enough to tell.

        Args:
            places: Requests in flight on one replica: as many rows are of the first filling,
                of which the short ones are back first.
        """
        if len(self._marks) < 2:
            return None
        (began, first, before), (now, last, after) = self._marks[0], self._marks[-1]
        rows, replica_s = last - first, after - before
        if now <= began or replica_s <= 0 or rows < 8:
            return None
        settled = rows / (rows + places)
        spread = 0.05 + 1.0 / math.sqrt(rows) + 0.5 * (1 - settled)
        return Estimate(rows / replica_s, spread)

    def estimate(self, before: Estimate, places: float) -> Estimate:
        """Return what is believed now: the measurement weighed with what was believed before."""
        measured = self.measured(places)
        if measured is None:
            return before
        # A run's own measurement is not contradicted by a guess: the surer one decides.
        mine, theirs = 1 / measured.spread**2, 1 / max(before.spread, 0.01) ** 2
        mean = (mine * math.log(measured.mid) + theirs * math.log(before.mid)) / (mine + theirs)
        return Estimate(math.exp(mean), max(0.05, 1 / math.sqrt(mine + theirs)))
