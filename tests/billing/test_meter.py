"""The cost meter of an endpoint."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mayfly.billing.meter import Meter
from mayfly.models.cost import billed_minutes, cost_usd

samples = st.lists(st.tuples(st.floats(0, 600), st.integers(0, 8)), max_size=30)


@given(steps=samples)
def test_meter_total_never_decreases(steps: list[tuple[float, int]]) -> None:
    meter, now_s, before_usd = Meter(price_usd_per_h=10.98), 0.0, 0.0
    for wait_s, ready in steps:
        now_s += wait_s
        meter.sample(now_s, ready)
        assert meter.spent_usd(now_s) >= before_usd
        before_usd = meter.spent_usd(now_s)


@given(steps=samples, later_s=st.floats(0, 3600))
def test_meter_stands_still_without_a_ready_replica(
    steps: list[tuple[float, int]], later_s: float
) -> None:
    meter, now_s = Meter(price_usd_per_h=10.98), 0.0
    for wait_s, ready in steps:
        now_s += wait_s
        meter.sample(now_s, ready)
    meter.sample(now_s, 0)

    spent_usd = meter.spent_usd(now_s)

    assert meter.spent_usd(now_s + later_s) == spent_usd


@pytest.mark.parametrize(
    ("seconds", "minutes"), [(0.0, 0), (0.1, 1), (60.0, 1), (60.5, 2), (3600.0, 60)]
)
def test_meter_bills_started_minutes(seconds: float, minutes: int) -> None:
    assert billed_minutes(seconds) == minutes


def test_meter_bills_an_hour_at_the_hourly_price() -> None:
    assert cost_usd(3600, 5.49) == pytest.approx(5.49)


def test_meter_uses_the_larger_replica_count_between_samples() -> None:
    meter = Meter(price_usd_per_h=60.0)
    meter.sample(0.0, 1)
    meter.sample(60.0, 2)

    assert meter.replica_minutes == 2
