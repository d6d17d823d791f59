"""Order of hardware for a job, replica counts, and refusals."""

import pytest

from mayfly.models.errors import BadRequest
from mayfly.models.offers import Offer, RegionCapacity
from mayfly.planning.hardware import Placement, select_offers
from mayfly.planning.measurements import Measurement
from mayfly.planning.ranking import (
    Constraints,
    Quote,
    most_replicas,
    quotes_for,
    rank_offers,
    reject_impossible_limits,
    warnings,
)
from mayfly.planning.tokens import Workload
from mayfly.planning.uncertainty import Estimate

LOAD = Workload(rows=200_000, prompt=Estimate(100, 0.05), answer=Estimate(100, 0.05))


def offer(hardware: str, usd: float, *regions: RegionCapacity) -> Offer:
    """Return an offer whose benchmark is the same for all."""
    return Offer(
        hardware=hardware, gpu_type="h100", gpu_count=1, gpu_memory_gib=80,
        price_usd_per_h=usd, regions=regions, tokens_per_s=150.0,
    )  # fmt: skip


CHEAP = offer("1xnvidia-h100-80gb", 6.0, RegionCapacity(name="east", free=6))
DEAR = offer("1xnvidia-b200-180gb", 9.0, RegionCapacity(name="east", free=20))


def planned(
    constraints: Constraints, past: list[Measurement], hardware: str = "auto"
) -> tuple[Placement, list[Quote]]:
    """Return the order of the two and their quotes in it."""
    rough = select_offers([CHEAP, DEAR], model="m", hardware=hardware, regions=(), replicas=1)
    quotes = quotes_for(rough, LOAD, constraints, model="m", past=past)
    placement = rank_offers(rough, quotes, constraints, hardware_named=hardware != "auto")
    return placement, [next(q for q in quotes if q.offer == o) for o in placement.eligible]


def run(of: Offer, rate: float) -> Measurement:
    """Return what a run on some hardware has taught."""
    return Measurement(model="m", hardware=of.hardware, work_per_s=rate, cold_start_s=300.0)


def test_ranking_without_measurements_is_by_hourly_price() -> None:
    placement, quotes = planned(Constraints(), [])

    assert placement.chosen == CHEAP
    assert [c.why for c in placement.candidates] == ["cheapest available", "next"]
    assert quotes[0].forecast.replicas == 1


def test_ranking_with_measurements_is_by_job_cost_with_a_reason() -> None:
    placement, _ = planned(Constraints(), [run(CHEAP, 2000.0), run(DEAR, 9000.0)])

    assert placement.chosen == DEAR
    assert placement.candidates[0].why == "cheapest for this job, measured"


def test_explicit_hardware_is_kept() -> None:
    past = [run(CHEAP, 2000.0), run(DEAR, 9000.0)]

    placement, _ = planned(Constraints(), past, hardware=CHEAP.hardware)

    assert placement.chosen == CHEAP
    assert placement.candidates[0].why == "requested"


def test_deadline_selects_the_fewest_sufficient_replicas() -> None:
    past = [run(CHEAP, 5000.0)]

    _, relaxed = planned(Constraints(deadline_s=6 * 3600), past)
    _, tight = planned(Constraints(deadline_s=1800), past)

    assert relaxed[0].forecast.replicas == 1
    assert 3 <= tight[0].forecast.replicas <= 6
    assert tight[0].forecast.seconds.high <= 1800


def test_ranking_puts_hardware_that_meets_the_deadline_first() -> None:
    placement, _ = planned(Constraints(deadline_s=1000), [run(CHEAP, 2000.0), run(DEAR, 2000.0)])

    assert placement.chosen == DEAR
    assert placement.candidates[0].why == "cheapest for this job, measured"


def test_impossible_deadline_is_refused_with_the_earliest_possible() -> None:
    _, quotes = planned(Constraints(deadline_s=60), [run(CHEAP, 5000.0), run(DEAR, 5000.0)])

    with pytest.raises(BadRequest, match=r"--deadline 1 min 00 s cannot .* takes at least \d+ min"):
        reject_impossible_limits(quotes, LOAD, Constraints(deadline_s=60))


def test_cost_cap_below_one_minute_is_refused_with_its_price() -> None:
    _, quotes = planned(Constraints(), [])

    reject_impossible_limits(quotes, LOAD, Constraints(max_cost_usd=0.1))
    with pytest.raises(BadRequest, match=r"--max-cost \$0.05: one minute .* costs \$0.10"):
        reject_impossible_limits(quotes, LOAD, Constraints(max_cost_usd=0.05))
    with pytest.raises(BadRequest, match=r"one minute of 2 replicas .* costs \$0.20"):
        reject_impossible_limits(quotes, LOAD, Constraints(minimum=2, max_cost_usd=0.15))


def test_cost_cap_below_the_estimate_is_reported_before_spending() -> None:
    _, quotes = planned(Constraints(), [run(CHEAP, 5000.0)])

    found = warnings(quotes[0], LOAD, Constraints(max_cost_usd=2.0))
    assert "likely to stop the run early" in found[0]
    assert warnings(quotes[0], LOAD, Constraints(max_cost_usd=100.0)) == []


def test_replicas_are_bounded_by_the_capacity_of_one_region() -> None:
    both = offer(
        "1xnvidia-h100-80gb", 6.0,
        RegionCapacity(name="east", free=6), RegionCapacity(name="west", free=8, at_least=True),
        RegionCapacity(name="north"),
    )  # fmt: skip

    assert most_replicas(both, ("east",), default=64) == 6
    assert most_replicas(both, ("west",), default=4) == 8
    assert most_replicas(both, ("west",), default=64) == 64
    assert most_replicas(both, (), default=4) == 8
    assert most_replicas(both, ("north",), default=4) == 4
