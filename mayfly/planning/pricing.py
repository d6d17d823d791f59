"""What a job takes and costs: on each kind of hardware, and by the token where that is sold.

A dedicated replica bills every started minute from READY until it has drained; the cold start is
free. The same rows cost tokens on serverless, and half of that through the Batch API, within its
limits.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mayfly.billing.meter import DRAIN_S
from mayfly.models.offers import Offer
from mayfly.planning.throughput import Rate, work_per_row
from mayfly.planning.tokens import Workload
from mayfly.planning.uncertainty import Interval

LEARN_S = 300.0
"""After READY, until a run's own throughput is known well enough to act on it."""

BATCH_REQUESTS = 50_000
BATCH_BYTES = 100_000_000
BATCH_HOURS = 24
BATCH_DISCOUNT = 0.5
"""Limits of one batch, its best effort, and its discount ("up to").
Source: Together API, Batch API."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a job takes on one kind of hardware.

    Attributes:
        seconds: From the create to the last answer, cold start included.
        busy_s: Of it, while replicas bill and answer.
        usd: For all replicas, by started minutes.
        usd_per_million: Per million tokens, prompts and responses: `usd` over all tokens.
        measured: Whether the throughput was measured, not guessed.
    """

    replicas: int
    seconds: Interval
    busy_s: Interval
    usd: Interval
    usd_per_million: float
    tokens_per_s: Interval
    measured: bool
    basis: str

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "replicas": self.replicas,
            "seconds": self.seconds.as_dict(),
            "busy_s": self.busy_s.as_dict(),
            "usd": self.usd.as_dict(),
            "usd_per_million_tokens": round(self.usd_per_million, 6),
            "tokens_per_s_per_replica": self.tokens_per_s.as_dict(),
            "measured": self.measured,
            "basis": self.basis,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ByToken:
    """What the same job costs where the model is sold by the token.

    Attributes:
        name: `serverless` or `batch`.
        requests: Batches that the job makes; 0 for serverless.
    """

    name: str
    usd: Interval
    requests: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"usd": self.usd.as_dict()} | ({"batches": self.requests} if self.requests else {})


def forecast(
    load: Workload, rate: Rate, *, price_usd_per_h: float, replicas: int, drain_s: float = DRAIN_S
) -> Forecast:
    """Return what a job takes on so many replicas of one kind.

    Busy time is work over rate, and once more the time that one row takes with all places filled
    (Little's law): as many rows are on their way at the end. A job that does not fill the places
    is no faster for it: one row takes a quarter of that time alone.
    """
    each = work_per_row(load)
    total = each.scaled(max(1, load.rows)).over(rate.work_per_s.scaled(replicas))
    filled = min(1.0, load.rows / (rate.places * replicas))
    tail = each.over(rate.work_per_s).scaled(rate.places * max(filled, 0.25) * 0.5)
    busy_s = total.plus(tail).interval
    usd = Interval(
        *(
            replicas * math.ceil((seconds + drain_s * share) / 60) * price_usd_per_h / 60
            # The nearest end drains at once, the farthest takes twice as long as expected.
            for seconds, share in zip(busy_s, (0.0, 1.0, 2.0), strict=True)
        )
    )
    answers = load.answer.mid > 1
    token = load.answer if answers else load.prompt
    per_s = rate.work_per_s.scaled(token.mid / each.mid)
    return Forecast(
        replicas=replicas,
        seconds=rate.cold_start_s.plus(busy_s),
        busy_s=busy_s,
        usd=usd,
        usd_per_million=usd.mid / (max(1, load.rows) * (load.prompt.mid + load.answer.mid)) * 1e6,
        tokens_per_s=per_s.interval,
        measured=rate.measured,
        basis=rate.basis,
    )


def fewest(
    load: Workload,
    rate: Rate,
    *,
    price_usd_per_h: float,
    within_s: float,
    most: int,
    at_least: int = 1,
    drain_s: float = DRAIN_S,
) -> Forecast:
    """Return the cheapest number of replicas with which a deadline can be promised.

    That is: what is probable is done in time by those from the start, and the farthest end of the
    interval by twice as many, of which half are asked for once the first minutes have shown that
    they are needed. When even the most do not reach it, as many as make it noticeably faster; the
    caller looks at its ends.
    """
    each = [
        forecast(load, rate, price_usd_per_h=price_usd_per_h, replicas=count, drain_s=drain_s)
        for count in range(at_least, max(at_least, most) + 1)
    ]
    meet = [found for found in each if _in_time(found, rate, within_s, most)]
    if meet:
        return min(meet, key=lambda found: (found.usd.mid, found.replicas))
    nearly_s = 1.05 * min(found.seconds.mid for found in each)
    return next(found for found in each if found.seconds.mid <= nearly_s)


def _in_time(found: Forecast, rate: Rate, within_s: float, most: int) -> bool:
    busy, start = found.busy_s, rate.cold_start_s
    if start.mid + busy.mid + (busy.high - busy.mid) * 0.4 > within_s:
        return False
    late_s = start.high + LEARN_S
    growth = min(2.0, most / found.replicas)
    time_s = within_s - start.high
    return busy.high <= time_s + (growth - 1) * max(0.0, within_s - late_s - start.mid)


def by_token(load: Workload, token_usd: tuple[float, float] | None) -> tuple[ByToken, ...]:
    """Return what the job costs by the token: on serverless and as batches; nothing where unsold.

    A batch takes at most 50,000 requests and 100 MB; a larger job makes several.
    """
    if token_usd is None:
        return ()
    cost = load.prompt_tokens.scaled(max(token_usd[0], 1e-9) / 1e6)
    if load.answer.mid > 1:
        cost = cost.plus(load.answer_tokens.scaled(max(token_usd[1], 1e-9) / 1e6))
    usd = cost.interval
    batches = max(
        1,
        math.ceil(load.rows / BATCH_REQUESTS),
        math.ceil(load.rows * load.body_bytes / BATCH_BYTES),
    )
    return (
        ByToken(name="serverless", usd=usd),
        ByToken(name="batch", usd=usd.times(1 - BATCH_DISCOUNT), requests=batches),
    )


def advice(dedicated: Forecast, others: Sequence[ByToken]) -> str:
    """Return one line: whether the job is cheaper by the token, or "" when nothing is known."""
    if not others:
        return ""
    least = min(others, key=lambda other: other.usd.mid)
    what = {"batch": "the Batch API", "serverless": "serverless"}[least.name]
    if least.usd.mid >= dedicated.usd.mid:
        return (
            f"this endpoint is the cheapest way: {what} would take about {dollars(least.usd.mid)}"
        )
    limits = (
        f" ({least.requests} batch{'es' if least.requests > 1 else ''}, "
        f"best effort within {BATCH_HOURS} h)"
        if least.requests
        else ""
    )
    sure = "is" if least.usd.high < dedicated.usd.low else "is probably"
    return (
        f"{what} {sure} cheaper: about {dollars(least.usd.mid)} instead of "
        f"{dollars(dedicated.usd.mid)}{limits}"
    )


def by_cost(
    offers: Sequence[Offer], forecasts: Sequence[Forecast]
) -> tuple[tuple[Offer, Forecast], ...]:
    """Return offers with their forecasts in the order in which to try them.

    By price per hour, as long as throughput is a guess: guesses of one source err together, and
    are no reason to rent the dearer machine. Once the first of that order has been measured, any
    other that was measured too and does the job for less goes before it.

    Args:
        offers: In the order of the price per hour.
        forecasts: One for each.
    """
    pairs = list(zip(offers, forecasts, strict=True))
    if not pairs or not pairs[0][1].measured:
        return tuple(pairs)
    known = [pair for pair in pairs if pair[1].measured]
    guessed = [pair for pair in pairs if not pair[1].measured]
    # Both kinds of rounding are left out: what differs is the price of the work itself.
    known.sort(key=lambda pair: pair[0].price_usd_per_h / pair[1].tokens_per_s.mid)
    return (*known, *guessed)


def dollars(usd: float) -> str:
    """Write an amount for people: `$0.004`, `$0.37`, `$12.40`, `$1,240`."""
    if 0 < usd < 0.01:
        return f"${usd:.4f}".rstrip("0")
    return f"${usd:,.2f}" if usd < 1000 else f"${usd:,.0f}"
