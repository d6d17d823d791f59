"""Forecast a job's time and cost on dedicated hardware, and its price by the token.

A dedicated replica bills every started minute from READY until it has drained; the cold start is
not billed. On serverless the same rows are billed by the token, and at half that price through
the Batch API, within its limits.
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
"""Seconds after READY until a run has measured its throughput well enough to act on it."""

BATCH_REQUESTS = 50_000
BATCH_BYTES = 100_000_000
BATCH_HOURS = 24
BATCH_DISCOUNT = 0.5
"""Limits of one batch, its best-effort completion time, and its discount ("up to").
Source: Together API, Batch API."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Time and cost of a job on one kind of hardware.

    Attributes:
        seconds: From the create to the last answer, cold start included.
        busy_s: The billed part of it, in which replicas answer.
        usd: Dollars for all replicas, by started minutes.
        usd_per_million: Dollars per million tokens, prompts and responses together.
        measured: Whether the throughput was measured rather than estimated.
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
    """Cost of the same job where the model is billed by the token.

    Attributes:
        name: `serverless` or `batch`.
        requests: Number of batches; 0 for serverless.
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
    """Forecast a job's time and cost on a number of replicas.

    Busy time is work divided by rate, plus the time of one row with all slots in use (Little's
    law), for the rows in flight at the end. A job that leaves slots empty gains little from it:
    a row alone is assumed to take a quarter of that time.
    """
    each = work_per_row(load)
    total = each.scaled(max(1, load.rows)).over(rate.work_per_s.scaled(replicas))
    filled = min(1.0, load.rows / (rate.slots * replicas))
    tail = each.over(rate.work_per_s).scaled(rate.slots * max(filled, 0.25) * 0.5)
    busy_s = total.plus(tail).interval
    usd = Interval(
        *(
            replicas * math.ceil((seconds + drain_s * share) / 60) * price_usd_per_h / 60
            # The low end drains at once; the high end takes twice the expected time.
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


def fewest_replicas(
    load: Workload,
    rate: Rate,
    *,
    price_usd_per_h: float,
    within_s: float,
    most: int,
    at_least: int = 1,
    drain_s: float = DRAIN_S,
) -> Forecast:
    """Return the forecast of the cheapest number of replicas that can meet a deadline.

    The initial replicas must meet it in the probable case. The high end of the interval may need
    twice as many, half of them requested once the first minutes show the need. When no number up
    to `most` meets the deadline, return the fewest replicas within 5 % of the fastest; the caller
    compares the forecast with the deadline.
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
    """Return the job's cost on serverless and in batches; empty when there is no token price.

    A batch takes at most 50,000 requests and 100 MB; a larger job is split.
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
    """Return one line on whether the job is cheaper by the token, or "" when that is unknown."""
    if not others:
        return ""
    least = min(others, key=lambda other: other.usd.mid)
    what = {"batch": "the Batch API", "serverless": "serverless"}[least.name]
    if least.usd.mid >= dedicated.usd.mid:
        return (
            f"this endpoint is the cheapest option: {what} would cost about "
            f"{dollars(least.usd.mid)}"
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

    The order is by price per hour while throughput is only estimated: estimates from one source
    share their error and do not justify more expensive hardware. Once the first offer has been
    measured, other measured offers that do the job for less come before it.

    Args:
        offers: Ordered by price per hour.
        forecasts: One per offer.
    """
    pairs = list(zip(offers, forecasts, strict=True))
    if not pairs or not pairs[0][1].measured:
        return tuple(pairs)
    known = [pair for pair in pairs if pair[1].measured]
    guessed = [pair for pair in pairs if not pair[1].measured]
    # Compare the price of the work itself, without rounding to minutes or replicas.
    known.sort(key=lambda pair: pair[0].price_usd_per_h / pair[1].tokens_per_s.mid)
    return (*known, *guessed)


def dollars(usd: float) -> str:
    """Format an amount for people: `$0.004`, `$0.37`, `$12.40`, `$1,240`."""
    if 0 < usd < 0.01:
        return f"${usd:.4f}".rstrip("0")
    return f"${usd:,.2f}" if usd < 1000 else f"${usd:,.0f}"
