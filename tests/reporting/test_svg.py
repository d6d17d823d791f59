"""Scales, ticks and figures of charts."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mayfly.reporting.charts import clock, compact, money
from mayfly.reporting.svg import linear, logarithmic, ticks, ticks_log, ticks_s

POSITIVE = st.floats(1e-6, 1e12)


@given(high=POSITIVE, most=st.integers(2, 12))
def test_ticks_are_few_even_and_within_the_axis(high: float, most: int) -> None:
    found = ticks(high, most)

    assert found[0] == 0
    assert len(found) <= most + 1
    assert found[-1] <= high * 1.000001


@given(low=st.floats(0, 1e5), length=st.floats(0.2, 1e6), most=st.integers(3, 12))
def test_time_ticks_are_few_and_within_the_axis(low: float, length: float, most: int) -> None:
    found = ticks_s(low, low + length, most)

    assert len(found) <= most + 1
    assert all(low - 1e-3 <= at <= low + length + 1e-3 for at in found)


@given(low=POSITIVE, factor=st.floats(1.13, 1e9), most=st.integers(2, 12))
def test_logarithmic_ticks_are_few_and_within_the_axis(
    low: float, factor: float, most: int
) -> None:
    found = ticks_log(low, low * factor, most)

    assert len(found) <= most
    assert all(low * 0.99 <= at <= low * factor * 1.01 for at in found)


def test_scales_map_ends_to_ends() -> None:
    assert [linear(2, 4, 100, 0)(value) for value in (2, 3, 4)] == [100, 50, 0]
    assert logarithmic(1, 100, 0, 100)(10) == pytest.approx(50)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.05, "0.05"), (950, "950"), (1500, "1,500"), (12_500, "12.5k"), (3e6, "3M")],
)
def test_number_on_an_axis_is_short(value: float, text: str) -> None:
    assert compact(value) == text


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        (0, "$0.00"),
        (12.345, "$12.35"),
        (0.25, "$0.25"),
        (0.00012, "$0.00012"),
        (3e-7, "$0.0000003"),
    ],
)
def test_dollars_on_an_axis_have_no_exponent(usd: float, text: str) -> None:
    assert money(usd) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0"), (45, "45 s"), (90, "1:30 min"), (720, "12 min"), (5400, "1 h 30"), (7200, "2 h")],
)
def test_time_on_an_axis_is_short(seconds: float, text: str) -> None:
    assert clock(seconds) == text


@given(usd=st.floats(1e-9, 1.0))
def test_dollars_keep_two_figures(usd: float) -> None:
    assert math.isclose(float(money(usd)[1:]), usd, rel_tol=0.06)
