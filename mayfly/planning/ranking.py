"""Rank hardware for a job, and choose the number of replicas.

`planning.hardware` selects offers that fit and have capacity. This module forecasts the job on
each of them and derives the order in which to try them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from mayfly.billing.meter import DRAIN_S, minimum_usd
from mayfly.models.durations import span
from mayfly.models.errors import BadRequest
from mayfly.models.offers import Offer
from mayfly.planning.hardware import Candidate, Placement
from mayfly.planning.measurements import Measurement
from mayfly.planning.pricing import Forecast, by_cost, dollars, fewest_replicas, forecast
from mayfly.planning.throughput import Rate, estimated_rate
from mayfly.planning.tokens import Workload
from mayfly.planning.uncertainty import Interval

ASSUMED_REPLICAS = 8
"""Replicas to plan with where the API does not publish how many fit."""

MOST_REPLICAS = 64
"""Largest number of replicas considered where the API publishes no upper bound."""

GUESS_TOLERANCE = 16.0
"""Factor by which unmeasured hardware may beat the low end of its estimate before a deadline is
rejected as impossible: only certain cases are rejected, and a missed deadline can be resumed."""

UNMEASURED_SCALE_AT = 32.0
"""Requests in flight per replica. The platform's default is 8, which a batch exceeds at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraints:
    """The user's constraints on the endpoint.

    Attributes:
        minimum, maximum: Replicas; 1 and None leave the number open.
        deadline_s: Seconds from the start of the run.
    """

    minimum: int = 1
    maximum: int | None = None
    regions: tuple[str, ...] = ()
    max_cost_usd: float | None = None
    deadline_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """An offer with its estimated rate and the forecast of the job on it.

    Attributes:
        most: Largest number of replicas.
    """

    offer: Offer
    rate: Rate
    forecast: Forecast
    most: int

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return self.forecast.as_dict() | {"cold_start_s": self.rate.cold_start_s.as_dict()}


def most_replicas(offer: Offer, regions: Sequence[str], *, default: int) -> int:
    """Return how many replicas one allowed region can hold; `default` without a known bound."""
    allowed = [r for r in offer.regions if not regions or r.name in regions]
    if not allowed:
        return default
    return max(
        default if region.free is None else max(region.free, default if region.at_least else 0)
        for region in allowed
    )


def quotes_for(
    placement: Placement,
    load: Workload,
    constraints: Constraints,
    *,
    model: str,
    past: Sequence[Measurement],
) -> tuple[Quote, ...]:
    """Return a quote for each candidate, in the placement's order."""
    offers = [candidate.offer for candidate in placement.candidates]
    drains = [record.drain_s for record in past if record.drain_s > 0][-8:]
    drain_s = max(drains, default=DRAIN_S)
    quotes = []
    for offer in offers:
        rate = estimated_rate(offer, model=model, past=past, offers=offers)
        price = offer.price_usd_per_h
        most = most_replicas(offer, constraints.regions, default=ASSUMED_REPLICAS)
        if constraints.maximum is not None:
            most = constraints.maximum
        most = max(most, constraints.minimum)
        if constraints.deadline_s is None or constraints.minimum == constraints.maximum:
            found = forecast(
                load, rate, price_usd_per_h=price, replicas=constraints.minimum, drain_s=drain_s
            )
        else:
            found = fewest_replicas(
                load, rate, price_usd_per_h=price, within_s=constraints.deadline_s, most=most,
                at_least=constraints.minimum, drain_s=drain_s,
            )  # fmt: skip
        quotes.append(Quote(offer=offer, rate=rate, forecast=found, most=most))
    return tuple(quotes)


def rank_offers(
    placement: Placement, quotes: Sequence[Quote], constraints: Constraints, *, hardware_named: bool
) -> Placement:
    """Return the placement with the eligible offers in the order in which to try them.

    Without measured throughput that is the order by price per hour. With it, the offer with the
    lowest cost for the job comes first; offers that meet the deadline precede those that may not.

    Args:
        hardware_named: Whether the user named the hardware.
    """
    quoted = dict(zip([id(c) for c in placement.candidates], quotes, strict=True))
    eligible = [c for c in placement.candidates if c.eligible]
    pairs = by_cost(
        [candidate.offer for candidate in eligible],
        [quoted[id(candidate)].forecast for candidate in eligible],
    )
    if constraints.deadline_s is not None:
        limit_s = constraints.deadline_s
        # The sort is stable: it keeps the order within both groups.
        pairs = tuple(sorted(pairs, key=lambda pair: pair[1].seconds.mid > limit_s))
    cheapest_hourly = eligible[0].offer
    ordered = [
        Candidate(offer=offer, eligible=True, why=_why(index, offer, found, cheapest_hourly))
        for index, (offer, found) in enumerate(pairs)
    ]
    if hardware_named:
        ordered = [replace(c, why="requested") if i == 0 else c for i, c in enumerate(ordered)]
    rest = [candidate for candidate in placement.candidates if not candidate.eligible]
    return Placement(candidates=(*ordered, *rest))


def _why(index: int, offer: Offer, found: Forecast, cheapest_hourly: Offer) -> str:
    if index:
        return "next"
    if offer == cheapest_hourly:
        return "cheapest available" + (", measured" if found.measured else "")
    if found.measured:
        return "cheapest for this job, measured"
    return "cheapest that meets the deadline"


def reject_impossible_limits(
    quotes: Sequence[Quote], load: Workload, constraints: Constraints
) -> None:
    """Reject limits that no offer can meet.

    Args:
        quotes: Quotes of the eligible offers, in the order in which to try them.

    Raises:
        BadRequest: The cost limit is below one minute of the replicas, or no hardware can meet
            the deadline even in the best case; the message says what is possible.
    """
    first = quotes[0]
    needed_usd = minimum_usd(first.offer.price_usd_per_h, constraints.minimum)
    if constraints.max_cost_usd is not None and constraints.max_cost_usd < needed_usd - 1e-9:
        replicas = f"{constraints.minimum} replicas" if constraints.minimum > 1 else "one replica"
        raise BadRequest(
            f"--max-cost {dollars(constraints.max_cost_usd)}: one minute of {replicas} of "
            f"{first.offer.hardware} costs {dollars(needed_usd)}; give at least that"
        )
    if constraints.deadline_s is None:
        return
    earliest = [_earliest(quote, load, constraints) for quote in quotes]
    best, interval, count = min(earliest, key=lambda found: found[1].low)
    if interval.low > constraints.deadline_s:
        raise BadRequest(
            f"--deadline {span(constraints.deadline_s)} cannot be met: on {count} x "
            f"{best.offer.hardware} the job takes at least {span(interval.low)}, probably "
            f"{span(interval.mid)}, at most {span(interval.high)}; give a longer deadline"
        )


def _earliest(
    quote: Quote, load: Workload, constraints: Constraints
) -> tuple[Quote, Interval, int]:
    """Return an offer's shortest possible time for the job, and the replicas it takes."""
    count = constraints.maximum or most_replicas(
        quote.offer, constraints.regions, default=MOST_REPLICAS
    )
    # More replicas than rows would be idle.
    count = max(1, min(count, math.ceil(load.rows)))
    found = forecast(load, quote.rate, price_usd_per_h=quote.offer.price_usd_per_h, replicas=count)
    if found.measured:
        return quote, found.seconds, count
    # An unmeasured rate may be far off, so it does not justify a rejection by itself.
    low_s = quote.rate.cold_start_s.low + found.busy_s.low / GUESS_TOLERANCE
    return quote, found.seconds._replace(low=low_s), count


def warnings(quote: Quote, load: Workload, constraints: Constraints) -> list[str]:
    """Return the limits that the job is likely to miss, one line each."""
    lines = []
    found = quote.forecast
    if constraints.max_cost_usd is not None and found.usd.mid > constraints.max_cost_usd:
        share = min(1.0, constraints.max_cost_usd / found.usd.mid)
        lines.append(
            f"--max-cost {dollars(constraints.max_cost_usd)} is likely to stop the run early, "
            f"after about {share * load.rows:,.0f} of {load.rows:,} rows; the run can be resumed"
        )
    elif constraints.max_cost_usd is not None and found.usd.high > constraints.max_cost_usd:
        lines.append(f"--max-cost {dollars(constraints.max_cost_usd)} may stop the run early")
    if constraints.deadline_s is not None and found.seconds.mid > constraints.deadline_s:
        lines.append(
            f"--deadline {span(constraints.deadline_s)} is likely to be missed: "
            f"the job probably takes {span(found.seconds.mid)} with {found.replicas} "
            f"replica{'s' if found.replicas > 1 else ''}"
        )
    elif constraints.deadline_s is not None and found.seconds.high > constraints.deadline_s:
        lines.append(
            f"--deadline {span(constraints.deadline_s)} may be missed; replicas are added if the "
            "first minutes show the need"
        )
    return lines


def scale_at(quote: Quote | None) -> float:
    """Return the requests in flight per replica at which the platform should add a replica.

    That is half of a replica's measured concurrency, or four times the platform's default when
    it has not been measured. Above it the waiting rows would fill one more replica.
    """
    if quote is None or not quote.rate.measured:
        return UNMEASURED_SCALE_AT
    return max(UNMEASURED_SCALE_AT / 2, round(quote.rate.slots / 2))
