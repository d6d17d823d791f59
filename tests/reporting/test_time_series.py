"""Time series: bounded, evenly spaced, and exact at both ends."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from mayfly.reporting.time_series import Series


def filled(times: list[float], *, capacity: int = 8) -> Series:
    series = Series("rows", capacity=capacity, every_s=1.0)
    for at_s in times:
        series.add(at_s, {"rows": at_s * 10})
    return series


@given(count=st.integers(0, 2000), capacity=st.integers(2, 50))
def test_series_never_holds_more_than_its_capacity(count: int, capacity: int) -> None:
    series = filled([float(i) for i in range(count)], capacity=capacity)

    assert len(series) <= capacity
    assert (len(series) > 0) == (count > 0)


@given(count=st.integers(2, 2000))
def test_samples_stay_evenly_spaced_at_any_duration(count: int) -> None:
    series = filled([float(i) for i in range(count)])

    at_s = series.columns()["at_s"]
    gaps = {b - a for a, b in pairwise(at_s)}
    assert len(gaps) <= 1
    assert count - 1 - at_s[-1] < series.every_s


def test_sample_within_the_interval_is_dropped() -> None:
    series = filled([0.0, 0.2, 0.9, 1.0, 1.5])

    assert series.columns()["at_s"] == [0.0, 1.0]


def test_rate_covers_the_last_seconds_only() -> None:
    series = Series("rows", every_s=1.0)
    for at_s in range(20):
        series.add(float(at_s), {"rows": 0.0 if at_s < 10 else (at_s - 10) * 5.0})

    assert series.rate("rows", window_s=5.0) == 5.0


def test_rate_needs_two_samples() -> None:
    assert filled([]).rate("rows", window_s=10.0) is None
    assert filled([0.0]).rate("rows", window_s=10.0) is None
