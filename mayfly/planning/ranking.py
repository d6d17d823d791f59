"""Which hardware for this job, and how many replicas of it: what is offered meets what is asked.

`planning.hardware` says what fits and has room; here each such offer gets its forecast, and the
order in which to try them follows from those.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from mayfly.billing.meter import DRAIN_S, least_usd
from mayfly.models.durations import span
from mayfly.models.errors import BadRequest
from mayfly.models.offers import Offer
from mayfly.planning.hardware import Candidate, Placement
from mayfly.planning.measurements import Measurement
from mayfly.planning.pricing import Forecast, by_cost, dollars, fewest, forecast
from mayfly.planning.throughput import Rate, believed
from mayfly.planning.tokens import Workload
from mayfly.planning.uncertainty import Interval

UNSAID_ROOM = 8
"""Replicas that are planned with where the API does not say how many fit."""

MOST_REPLICAS = 64
"""Replicas that are thought possible at all where the API gives no upper bound."""


BENEFIT_OF_THE_DOUBT = 16.0
"""How many times faster than the near end of a guess hardware may be before a deadline is called
impossible: refusing is for what is certain, and a missed deadline says so and can be resumed."""

UNMEASURED_SCALE_AT = 32.0
"""The platform's own number is 8, which a batch exceeds with its first requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraints:
    """What the user asks of the endpoint.

    Attributes:
        minimum, maximum: Replicas; 1 and None leave the number open.
        deadline_s: From the start of the run.
    """

    minimum: int = 1
    maximum: int | None = None
    regions: tuple[str, ...] = ()
    max_cost_usd: float | None = None
    deadline_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """An offer with what is believed of it and what the job takes on it.

    Attributes:
        most: Replicas that may be had of it.
    """

    offer: Offer
    rate: Rate
    forecast: Forecast
    most: int

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return self.forecast.as_dict() | {"cold_start_s": self.rate.cold_start_s.as_dict()}


def most_replicas(offer: Offer, regions: Sequence[str], *, unsaid: int) -> int:
    """Return how many replicas one allowed region may hold; `unsaid` where no bound is given."""
    allowed = [r for r in offer.regions if not regions or r.name in regions]
    if not allowed:
        return unsaid
    return max(
        unsaid if region.free is None else max(region.free, unsaid if region.at_least else 0)
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
        rate = believed(offer, model=model, past=past, offers=offers)
        price = offer.price_usd_per_h
        most = most_replicas(offer, constraints.regions, unsaid=UNSAID_ROOM)
        if constraints.maximum is not None:
            most = constraints.maximum
        most = max(most, constraints.minimum)
        if constraints.deadline_s is None or constraints.minimum == constraints.maximum:
            found = forecast(
                load, rate, price_usd_per_h=price, replicas=constraints.minimum, drain_s=drain_s
            )
        else:
            found = fewest(
                load, rate, price_usd_per_h=price, within_s=constraints.deadline_s, most=most,
                at_least=constraints.minimum, drain_s=drain_s,
            )  # fmt: skip
        quotes.append(Quote(offer=offer, rate=rate, forecast=found, most=most))
    return tuple(quotes)


def in_order(
    placement: Placement, quotes: Sequence[Quote], constraints: Constraints, *, by_hand: bool
) -> Placement:
    """Return the placement with the eligible offers in the order in which to try them for this job.

    Without measured throughput that is the order by price per hour. With it, what does the job
    for least comes first; with a deadline, what meets it comes before what may not.

    Args:
        by_hand: Whether the user named the hardware.
    """
    quoted = dict(zip([id(c) for c in placement.candidates], quotes, strict=True))
    eligible = [c for c in placement.candidates if c.eligible]
    pairs = by_cost(
        [candidate.offer for candidate in eligible],
        [quoted[id(candidate)].forecast for candidate in eligible],
    )
    if constraints.deadline_s is not None:
        limit_s = constraints.deadline_s
        # Stable: among those that meet it, and those that may not, the order stays.
        pairs = tuple(sorted(pairs, key=lambda pair: pair[1].seconds.mid > limit_s))
    cheapest_hourly = eligible[0].offer
    ordered = [
        Candidate(offer=offer, eligible=True, why=_why(index, offer, found, cheapest_hourly))
        for index, (offer, found) in enumerate(pairs)
    ]
    if by_hand:
        ordered = [replace(c, why="asked for") if i == 0 else c for i, c in enumerate(ordered)]
    rest = [candidate for candidate in placement.candidates if not candidate.eligible]
    return Placement(candidates=(*ordered, *rest))


def _why(index: int, offer: Offer, found: Forecast, cheapest_hourly: Offer) -> str:
    if index:
        return "next"
    if offer == cheapest_hourly:
        return "cheapest with room" + (", measured" if found.measured else "")
    if found.measured:
        return "cheapest for this job, measured"
    return "cheapest that meets the deadline"


def refuse_the_impossible(
    quotes: Sequence[Quote], load: Workload, constraints: Constraints
) -> None:
    """Refuse limits within which nothing can be done.

    Args:
        quotes: Of the offers that can be had, the first to try first.

    Raises:
        BadRequest: The cap is below one minute of the replicas, or no hardware can meet the
            deadline even if all goes well; the message says what could.
    """
    first = quotes[0]
    needed_usd = least_usd(first.offer.price_usd_per_h, constraints.minimum)
    if constraints.max_cost_usd is not None and constraints.max_cost_usd < needed_usd - 1e-9:
        replicas = f"{constraints.minimum} replicas" if constraints.minimum > 1 else "one replica"
        raise BadRequest(
            f"--max-cost {dollars(constraints.max_cost_usd)}: a single minute of {replicas} of "
            f"{first.offer.hardware} costs {dollars(needed_usd)}; give at least that"
        )
    if constraints.deadline_s is None:
        return
    earliest = [_earliest(quote, load, constraints) for quote in quotes]
    best, interval, count = min(earliest, key=lambda found: found[1].low)
    if interval.low > constraints.deadline_s:
        raise BadRequest(
            f"--deadline {span(constraints.deadline_s)}: cannot be met; the earliest possible is "
            f"{span(interval.low)}, {span(interval.mid)} is probable and {span(interval.high)} "
            f"safe, on {count} x {best.offer.hardware}; give a later one"
        )


def _earliest(
    quote: Quote, load: Workload, constraints: Constraints
) -> tuple[Quote, Interval, int]:
    """Return the time that the job takes at least on one offer, and with how many replicas."""
    count = constraints.maximum or most_replicas(
        quote.offer, constraints.regions, unsaid=MOST_REPLICAS
    )
    # More replicas than rows help nobody.
    count = max(1, min(count, math.ceil(load.rows)))
    found = forecast(load, quote.rate, price_usd_per_h=quote.offer.price_usd_per_h, replicas=count)
    if found.measured:
        return quote, found.seconds, count
    # What nobody has measured yet is no reason to refuse: it may be far off.
    low_s = quote.rate.cold_start_s.low + found.busy_s.low / BENEFIT_OF_THE_DOUBT
    return quote, found.seconds._replace(low=low_s), count


def warnings(quote: Quote, load: Workload, constraints: Constraints) -> list[str]:
    """Return what is likely to go otherwise than wished, one line each."""
    lines = []
    found = quote.forecast
    if constraints.max_cost_usd is not None and found.usd.mid > constraints.max_cost_usd:
        share = min(1.0, constraints.max_cost_usd / found.usd.mid)
        lines.append(
            f"--max-cost {dollars(constraints.max_cost_usd)} is likely to end the run early, with "
            f"about {share * load.rows:,.0f} of {load.rows:,} rows; the rest can be resumed"
        )
    elif constraints.max_cost_usd is not None and found.usd.high > constraints.max_cost_usd:
        lines.append(f"--max-cost {dollars(constraints.max_cost_usd)} may end the run early")
    if constraints.deadline_s is not None and found.seconds.mid > constraints.deadline_s:
        lines.append(
            f"--deadline {span(constraints.deadline_s)} is likely to be missed: "
            f"{span(found.seconds.mid)} is probable with {found.replicas} "
            f"replica{'s' if found.replicas > 1 else ''}"
        )
    elif constraints.deadline_s is not None and found.seconds.high > constraints.deadline_s:
        lines.append(
            f"--deadline {span(constraints.deadline_s)} may be missed; replicas are added as the "
            "first minutes show"
        )
    return lines


def scale_at(quote: Quote | None) -> float:
    """Return the requests in flight per replica at which a further replica is worth it.

    Half of what a replica has been seen to hold; four times the platform's own number where none
    has. Above that the rows at hand would fill one more, and below it they do not fill those.
    """
    if quote is None or not quote.rate.measured:
        return UNMEASURED_SCALE_AT
    return max(UNMEASURED_SCALE_AT / 2, round(quote.rate.places / 2))
