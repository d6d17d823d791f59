"""Decisions of a run about cost and time."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mayfly.billing.meter import Meter
from mayfly.planning.uncertainty import Estimate
from mayfly.runs.autoscaler import GO, Autoscaler, RunState

lines = st.lists(st.tuples(st.floats(0, 3000), st.floats(1, 3000)), min_size=1, max_size=8)


def state(
    *, now_s: float = 600.0, done: int = 1000, left: int = 1000, in_flight: int = 64,
    ready: int = 1, bound_usd: float = 0.0, worst_usd: float = 0.0,
) -> RunState:  # fmt: skip
    """Return an observation of a run in progress."""
    return RunState(now_s, done, left, in_flight, ready, now_s * ready, bound_usd, worst_usd)


@given(changes=st.lists(st.tuples(st.integers(0, 8), st.floats(1, 200)), min_size=1, max_size=40))
def test_meter_is_at_least_the_bill_minus_its_uncertainty(
    changes: list[tuple[int, float]],
) -> None:
    meter, now_s = Meter(price_usd_per_h=60.0), 0.0
    starts: list[float] = []
    owed = 0
    meter.sample(now_s, 0)
    for which, wait_s in changes:
        now_s += wait_s
        if which < len(starts):
            owed += math.ceil((now_s - starts.pop(which)) / 60)
        else:
            starts.append(now_s)
        meter.sample(now_s, len(starts))
    owed += sum(math.ceil((now_s - start) / 60) for start in starts)

    assert meter.minutes(now_s) + meter.doubt_minutes >= owed


@given(bill=lines)
def test_meter_exceeds_the_bill_by_about_a_minute_per_replica(
    bill: list[tuple[float, float]],
) -> None:
    meter, now_s = Meter(price_usd_per_h=60.0), 0.0
    while now_s < 6100:
        now_s += 10
        meter.sample(now_s, sum(start <= now_s < start + length for start, length in bill))

    # Samples are 10 s apart: each end is seen up to 10 s later, each start up to 10 s earlier.
    owed = sum(math.ceil((length + 20) / 60) for _, length in bill)
    assert meter.minutes(now_s) <= owed + len(bill)


def test_requested_replica_counts_as_ready_at_once() -> None:
    meter = Meter(price_usd_per_h=60.0)
    meter.sample(0.0, 1)

    assert meter.bound_usd(30.0) == 1.0
    assert meter.bound_usd(30.0, pending=2, pending_s=70.0) == 5.0


def test_draining_replica_keeps_billing() -> None:
    meter = Meter(price_usd_per_h=60.0)
    meter.sample(0.0, 2)
    meter.sample(50.0, 1, draining_s=30.0)

    assert meter.minutes(50.0) == 2
    assert meter.minutes(200.0) == 2 + 4


def test_run_stops_before_the_cost_cap() -> None:
    autoscaler = Autoscaler(
        minimum=1, maximum=1, wanted=1, rows_per_s=Estimate(1, 0.1), max_cost_usd=1.0,
        replica_usd=0.1,
    )  # fmt: skip

    assert autoscaler.decide(state(bound_usd=1.0, worst_usd=1.1)) == GO
    assert autoscaler.decide(state(bound_usd=1.1, worst_usd=1.1)).action == "stop_cost"
    assert autoscaler.decide(state(bound_usd=1.0, worst_usd=1.2)).action == "stop_cost"


def test_run_stops_at_the_deadline() -> None:
    autoscaler = Autoscaler(
        minimum=1, maximum=1, wanted=1, rows_per_s=Estimate(1, 0.1), deadline_s=3600.0
    )

    assert autoscaler.decide(state(now_s=3599.0)) == GO
    assert autoscaler.decide(state(now_s=3600.0)).action == "stop_time"


def test_fixed_replica_count_is_never_changed() -> None:
    autoscaler = Autoscaler(
        minimum=2, maximum=2, wanted=2, rows_per_s=Estimate(0.001, 0.1), deadline_s=3600.0
    )

    assert autoscaler.decide(state(left=100_000)) == GO


def test_endangered_deadline_adds_replicas() -> None:
    autoscaler = Autoscaler(
        minimum=1, maximum=8, wanted=1, rows_per_s=Estimate(1, 0.1), deadline_s=3600.0, start_s=200
    )

    decision = autoscaler.decide(state(now_s=600, left=6000))

    assert decision.action == "scale"
    assert 3 <= decision.replicas <= 5
    assert "deadline" in decision.why


def test_cost_cap_has_priority_over_deadline() -> None:
    autoscaler = Autoscaler(
        minimum=1, maximum=8, wanted=1, rows_per_s=Estimate(1, 0.1), deadline_s=3600.0,
        start_s=200, max_cost_usd=1.0, replica_usd=0.1,
    )  # fmt: skip

    assert autoscaler.decide(state(now_s=600, left=6000, bound_usd=0.95, worst_usd=0.95)) == GO


def test_replicas_that_the_last_rows_do_not_fill_are_removed() -> None:
    autoscaler = Autoscaler(
        minimum=1, maximum=8, wanted=6, rows_per_s=Estimate(1, 0.1), deadline_s=36_000.0, slots=64
    )

    decision = autoscaler.decide(state(left=100, in_flight=100, ready=6))

    assert (decision.action, decision.replicas) == ("scale", 2)


@given(
    now_s=st.floats(0, 10_000), left=st.integers(0, 100_000), ready=st.integers(0, 16),
    wanted=st.integers(1, 16), rate=st.floats(0.01, 100), spread=st.floats(0.05, 1),
)  # fmt: skip
def test_replicas_stay_within_their_bounds(
    now_s: float, left: int, ready: int, wanted: int, rate: float, spread: float
) -> None:
    autoscaler = Autoscaler(
        minimum=1, maximum=16, wanted=wanted, rows_per_s=Estimate(rate, spread), deadline_s=9000.0
    )

    decision = autoscaler.decide(state(now_s=now_s, left=left, in_flight=left, ready=ready))

    if decision.action == "scale":
        assert 1 <= decision.replicas <= 16


@pytest.mark.parametrize("ready", [0, 1, 5])
def test_slow_stop_never_costs_less_than_the_expected_stop(ready: int) -> None:
    autoscaler = Autoscaler(minimum=1, maximum=1, wanted=1, rows_per_s=Estimate(1, 0.1))
    meter = Meter(price_usd_per_h=6.0)
    meter.sample(0.0, ready)

    expected, worst = autoscaler.bounds_usd(meter, 100.0, 3)

    assert expected <= worst
