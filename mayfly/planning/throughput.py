"""Throughput of one replica: estimated from the catalogue, learned from runs, or measured.

The unit is work: 1 for each completion token and 1/20 for each uncached prompt token. With it, a
run with long prompts and short answers informs the estimate for the opposite case.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from mayfly.models.offers import Offer, same_hardware
from mayfly.planning.measurements import Measurement
from mayfly.planning.tokens import Workload
from mayfly.planning.uncertainty import Estimate, Interval, combined_estimate

PROMPT_WORK = 1 / 20
"""Work of one prompt token. Prefill is one batched pass; decoding is one pass per token, shared by
all requests in flight."""

STREAMS = Estimate(40.0, 0.9)
"""Factor from the catalogue's tokens per second to a replica's with all slots in use. The API does
not define whether that figure is per stream or per replica, hence the spread: 9 to 176."""

UNPUBLISHED = Estimate(1000.0, 1.2)
"""Work per second for each dollar per hour, where the catalogue publishes no figure."""

LEARNED_SPREAD = 0.1
"""Smallest spread of a rate measured by finished runs: runs differ."""

DEFAULT_SLOTS = 128.0
"""Requests in flight on one replica while its concurrency is unknown."""

COLD_START_S = Interval(5.0, 420.0, 1200.0)
"""From the create to READY, before any run has measured it: 5-10 minutes for a small model, up to
20 the first time, and almost none where the weights are already loaded.
Source: Together API, dedicated model inference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """The estimated rate of one kind of hardware for one model.

    Attributes:
        work_per_s: Work per second of one replica.
        measured: Whether a run or a calibration has measured it.
        slots: Requests in flight on one replica.
        basis: Source of the figure, for people.
    """

    work_per_s: Estimate
    measured: bool = False
    slots: float = DEFAULT_SLOTS
    cold_start_s: Interval = COLD_START_S
    basis: str = ""


def work_per_row(load: Workload) -> Estimate:
    """Return the work of one row."""
    return load.answer.plus(load.prompt.scaled(PROMPT_WORK))


def work(prompt_tokens: float, cached_tokens: float, completion_tokens: float) -> float:
    """Return the work of answered rows; cached prompt tokens count for nothing."""
    return completion_tokens + PROMPT_WORK * max(0.0, prompt_tokens - cached_tokens)


def estimated_rate(
    offer: Offer, *, model: str, past: Sequence[Measurement], offers: Sequence[Offer]
) -> Rate:
    """Estimate the rate of an offer before a run.

    Args:
        past: Finished runs with the same provider, oldest first.
        offers: All offers of the model: they give the rate per dollar for an offer without a
            published figure.
    """
    mine = [
        record
        for record in past
        if record.model == model and same_hardware(record.hardware, offer.hardware)
    ]
    cold_start_s = cold_start([record.cold_start_s for record in mine])
    measured = [record for record in mine if record.work_per_s > 0]
    if measured:
        # Later runs count more: drivers, engines and co-tenants change.
        recent = measured[-8:]
        combined = combined_estimate(
            Estimate(record.work_per_s, LEARNED_SPREAD * 1.25**age)
            for age, record in enumerate(reversed(recent))
        )
        return Rate(
            work_per_s=Estimate(combined.mid, max(combined.spread, LEARNED_SPREAD)),
            measured=True,
            slots=max(1.0, recent[-1].in_flight or DEFAULT_SLOTS),
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
        basis = "estimated from its price"
    else:
        per_dollar, basis = UNPUBLISHED, "estimated, no benchmark of this model"
    return Rate(
        work_per_s=per_dollar.scaled(offer.price_usd_per_h), cold_start_s=cold_start_s, basis=basis
    )


def cold_start(seen_s: Sequence[float]) -> Interval:
    """Return the duration of a cold start: as measured before, with a margin on both sides."""
    found = [seconds for seconds in seen_s if seconds > 0][-8:]
    if not found:
        return COLD_START_S
    return Interval(min(found) * 0.4, found[-1], max(found) * 1.6)


def extrapolate_throughput(
    few: tuple[float, float], many: tuple[float, float], slots: float
) -> tuple[float, float]:
    """Extrapolate the work per second to `slots` in flight; return it with the slots it is for.

    The latency of a request is linear in the number n in flight: latency(n) = a + b n. A
    replica's throughput n / (a + b n) therefore approaches 1 / b. Two measurements give a and b.

    Args:
        few, many: Two measurements (requests in flight, seconds per unit of work of a request).
        slots: Requests in flight to extrapolate to; at least as many as were measured.
    """
    (n1, s1), (n2, s2) = sorted((few, many))
    slope = max(0.0, (s2 - s1) / (n2 - n1)) if n2 > n1 else s1 / n1 if n1 else 0.0
    start = max(s1 - slope * n1, 0.0)
    at = max(slots, n2)
    return at / (start + slope * at), at


def mean_in_flight(spans: Sequence[tuple[float, float]]) -> float:
    """Return the mean number of requests in flight that a request experiences, itself included.

    That is the integral of n² divided by the integral of n; idle time does not count.

    Args:
        spans: (sent, answered) of each request, in seconds on one clock.
    """
    events = sorted([(sent, 1) for sent, _ in spans] + [(answered, -1) for _, answered in spans])
    squares = whole = 0.0
    count, at = 0, events[0][0] if events else 0.0
    for at_s, change in events:
        squares += (at_s - at) * count * count
        whole += (at_s - at) * count
        count, at = count + change, at_s
    return squares / whole if whole > 0 else 1.0


@dataclass(slots=True)
class Throughput:
    """Rows per second of one replica, measured over the last minutes of a run.

    It counts rows, not tokens, to predict when the rows will be done. The time until the first
    answers arrive, while replicas fill up, is excluded.

    Attributes:
        window_s: Length of the window, in seconds.
    """

    window_s: float = 300.0
    _samples: list[tuple[float, int, float]] = field(default_factory=list, repr=False)
    """(time, rows done, replica-seconds) of each sample."""

    def sample(self, now_s: float, rows_done: int, replica_s: float) -> None:
        """Record the run's progress; samples must go forward in time."""
        if not self._samples and rows_done == 0:
            return
        self._samples.append((now_s, rows_done, replica_s))
        while len(self._samples) > 2 and now_s - self._samples[1][0] >= self.window_s:
            self._samples.pop(0)

    def reset(self) -> None:
        """Drop all samples: for another endpoint, or after a stop."""
        self._samples.clear()

    @property
    def rows(self) -> int:
        """Rows answered in the window."""
        return self._samples[-1][1] - self._samples[0][1] if self._samples else 0

    def measured(self, slots: float) -> Estimate | None:
        """Return rows per second of one replica; None while there are too few rows.

        Args:
            slots: Requests in flight on one replica. The first rows to return are biased toward
                short answers, about as many as there are slots.
        """
        if len(self._samples) < 2:
            return None
        (began, first, before), (now, last, after) = self._samples[0], self._samples[-1]
        rows, replica_s = last - first, after - before
        if now <= began or replica_s <= 0 or rows < 8:
            return None
        settled = rows / (rows + slots)
        spread = 0.05 + 1.0 / math.sqrt(rows) + 0.5 * (1 - settled)
        return Estimate(rows / replica_s, spread)

    def estimate(self, before: Estimate, slots: float) -> Estimate:
        """Return the current estimate: the measurement combined with the prior estimate."""
        measured = self.measured(slots)
        if measured is None:
            return before
        # Weight by certainty; unlike `combined_estimate`, disagreement does not widen the result:
        # a run's own measurement is not made less certain by a prior.
        mine, theirs = 1 / measured.spread**2, 1 / max(before.spread, 0.01) ** 2
        mean = (mine * math.log(measured.mid) + theirs * math.log(before.mid)) / (mine + theirs)
        return Estimate(math.exp(mean), max(0.05, 1 / math.sqrt(mine + theirs)))
