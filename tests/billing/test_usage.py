"""Billed time by phase."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mayfly.billing.usage import BilledPhase, Usage, total_by_phase

samples = st.lists(
    st.tuples(
        st.floats(0, 300),
        st.sampled_from(list(BilledPhase)),
        st.integers(0, 8),
        st.integers(0, 500),
    ),
    max_size=30,
)


@given(steps=samples)
def test_billed_seconds_are_each_in_one_phase(
    steps: list[tuple[float, BilledPhase, int, int]],
) -> None:
    spending, now_s, paid_s, ready_before = Usage(), 0.0, 0.0, 0
    for index, (wait_s, phase, ready, in_flight) in enumerate(steps):
        now_s += wait_s
        paid_s += wait_s * ready_before if index else 0.0
        spending.sample(now_s, phase, ready, in_flight=in_flight, limit=256)
        ready_before = ready

    assert sum(spending.replica_s.values()) == pytest.approx(paid_s)
    assert 0 <= spending.used_s <= paid_s + 1e-6


def test_phases_and_rounding_add_up_to_the_bill() -> None:
    spending = Usage()
    spending.sample(0.0, BilledPhase.WAITING, 1)
    spending.sample(10.0, BilledPhase.BUSY, 1, in_flight=50, limit=100)
    spending.sample(50.0, BilledPhase.DRAINING, 1)
    spending.sample(65.0, BilledPhase.DRAINING, 0)

    record = spending.as_dict(usd=2.0, price_usd_per_h=60.0)

    assert sum(record["usd"].values()) == pytest.approx(2.0)
    assert record["replica_s"]["busy"] == 40.0
    assert record["utilisation"] == pytest.approx(40 * 0.5 / 120, abs=1e-4)
    assert total_by_phase([record, record])["busy"] == pytest.approx(2 * record["usd"]["busy"])


@pytest.mark.parametrize(
    ("sent", "back", "left", "in_flight", "phase"),
    [
        (False, 0, 100, 0, BilledPhase.WAITING),
        (True, 0, 100, 20, BilledPhase.WARMING),
        (True, 5, 95, 20, BilledPhase.BUSY),
        (True, 90, 10, 10, BilledPhase.TAIL),
    ],
)
def test_phase_follows_from_requests_in_flight(
    sent: bool, back: int, left: int, in_flight: int, phase: BilledPhase
) -> None:
    assert Usage().phase_of(sent=sent, answered=back, left=left, in_flight=in_flight) is phase


def test_short_run_gives_no_throughput_measurement() -> None:
    short, long = Usage(), Usage()
    for spending, seconds in ((short, 3.0), (long, 300.0)):
        spending.sample(0.0, BilledPhase.BUSY, 1, in_flight=50, limit=50)
        spending.sample(
            seconds, BilledPhase.TAIL, 1, in_flight=50, limit=50, work=seconds * 1000, rows=1000
        )

    assert (short.work_per_s, short.rows_per_s) == (0.0, 0.0)
    assert long.work_per_s == pytest.approx(1000.0)
    assert long.in_flight == pytest.approx(50.0)
