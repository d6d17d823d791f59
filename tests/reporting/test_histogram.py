"""Latencies in bounded memory: percentiles that err upwards, by at most the width of a bin."""

import math

from hypothesis import given
from hypothesis import strategies as st

from mayfly.reporting.histogram import BINS_PER_DECADE, LatencyHistogram

LATENCIES = st.lists(st.floats(0.0011, 5000.0), min_size=1, max_size=300)


def histogram(latencies_s: list[float]) -> LatencyHistogram:
    filled = LatencyHistogram()
    filled.add(latencies_s)
    return filled


@given(latencies_s=LATENCIES, percent=st.sampled_from([1, 50, 90, 95, 99, 100]))
def test_percentile_exceeds_the_true_one_by_at_most_a_bin(
    latencies_s: list[float], percent: int
) -> None:
    true_s = sorted(latencies_s)[max(1, math.ceil(len(latencies_s) * percent / 100)) - 1]

    found_s = histogram(latencies_s).percentile(percent)

    assert found_s is not None
    assert true_s * 0.999999 <= found_s <= true_s * 10 ** (1 / BINS_PER_DECADE) * 1.000001


@given(latencies_s=LATENCIES)
def test_latency_is_in_exactly_one_bin(latencies_s: list[float]) -> None:
    figures = histogram(latencies_s).as_dict()

    assert sum(count for _, _, count in figures["bins"]) == figures["count"] == len(latencies_s)


def test_extreme_latencies_are_counted_in_the_outer_bins() -> None:
    figures = histogram([1e-9, 1e9]).as_dict()

    assert figures["count"] == 2
    assert figures["max_s"] == 1e9


def test_empty_histogram_has_no_percentile() -> None:
    figures = histogram([0.0, 0.0]).as_dict()

    assert figures["count"] == 0
    assert figures["p50_s"] is None
    assert figures["bins"] == []
