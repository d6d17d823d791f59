"""Token estimates of a job and their uncertainty."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mayfly.planning.measurements import Measurement, measurements
from mayfly.planning.tokens import (
    PRIOR_RESPONSE,
    EarlierResponses,
    Sample,
    Workload,
    guessed_tokens,
    workload,
)
from mayfly.planning.uncertainty import Estimate, Interval, combined_estimate

estimates = st.builds(Estimate, st.floats(1e-3, 1e6), st.floats(0.01, 2))


@given(estimate=estimates, factor=st.floats(1e-3, 1e3))
def test_interval_contains_its_middle_and_scales(estimate: Estimate, factor: float) -> None:
    interval = estimate.interval

    assert interval.low <= interval.mid <= interval.high
    assert estimate.scaled(factor).interval.high == pytest.approx(interval.high * factor)


@given(left=estimates, right=estimates)
def test_product_and_quotient_are_as_uncertain_as_their_operands(
    left: Estimate, right: Estimate
) -> None:
    assert left.times(right).spread >= max(left.spread, right.spread)
    assert left.over(right).spread >= max(left.spread, right.spread)


@given(found=st.lists(estimates, min_size=1, max_size=6))
def test_combined_estimate_is_between_its_inputs(found: list[Estimate]) -> None:
    combined = combined_estimate(found)

    assert min(b.mid for b in found) * 0.999 <= combined.mid <= max(b.mid for b in found) * 1.001
    assert combined.spread > 0


def test_contradicting_estimates_do_not_reduce_uncertainty() -> None:
    assert combined_estimate([Estimate(10.0, 0.1), Estimate(1000.0, 0.1)]).spread > 1


@given(text=st.text(max_size=400))
def test_text_has_no_more_tokens_than_characters(text: str) -> None:
    assert 0 <= guessed_tokens(text) <= len(text)


def test_non_latin_scripts_have_more_tokens_per_character() -> None:
    assert guessed_tokens("wetter" * 10) < guessed_tokens("погода" * 10)


@given(
    tokens=st.lists(st.floats(1, 5000), min_size=1, max_size=50), rows=st.integers(50, 10_000_000)
)
def test_complete_sample_has_no_sampling_uncertainty(tokens: list[float], rows: int) -> None:
    part = _load(Sample(rows=rows, tokens=tuple(tokens)), rows=rows)
    whole = _load(Sample(rows=len(tokens), tokens=tuple(tokens)), rows=len(tokens))

    assert part.prompt.spread >= whole.prompt.spread
    assert part.prompt.mid == pytest.approx(whole.prompt.mid)


def test_token_count_is_less_uncertain_than_an_estimate() -> None:
    tokens = (100.0,) * 100

    counted = _load(Sample(rows=1000, tokens=tokens, counted=True))

    assert counted.prompt.spread < _load(Sample(rows=1000, tokens=tokens)).prompt.spread
    assert "tokenizer" in counted.basis[0]


def test_finished_runs_correct_the_ratio_of_tokens_to_characters() -> None:
    past = [Measurement(model="m", token_ratio=1.3, answered=100, completion_tokens=1000)] * 3

    load = _load(Sample(rows=1000, tokens=(100.0,) * 100), past=past)

    assert load.prompt.mid == pytest.approx(130.0)
    assert load.prompt.spread < 0.2


@pytest.mark.parametrize(
    ("past", "earlier", "mid"),
    [
        ([], None, PRIOR_RESPONSE.mid),
        (
            [Measurement(model="m", prompt_key="other", answered=500, completion_tokens=50_000)],
            None,
            100.0,
        ),
        (
            [Measurement(model="m", prompt_key="key", answered=500, completion_tokens=10_000)],
            None,
            20.0,
        ),
        (
            [Measurement(model="n", prompt_key="key", answered=500, completion_tokens=10_000)],
            None,
            250.0,
        ),
        ([], EarlierResponses(rows=100, prompt_tokens=1, completion_tokens=3000), 30.0),
    ],
)
def test_output_length_follows_the_best_evidence(
    past: list[Measurement], earlier: EarlierResponses | None, mid: float
) -> None:
    load = _load(Sample(rows=1000, tokens=(9.0,) * 20), past=past, earlier=earlier)

    assert load.answer.mid == pytest.approx(mid)


@given(limit=st.integers(1, 100_000))
def test_output_length_never_exceeds_max_tokens(limit: int) -> None:
    past = [Measurement(model="m", prompt_key="key", answered=500, completion_tokens=500_000)]

    for known in ([], past):
        assert (
            1 <= _load(Sample(rows=9, tokens=(9.0,)), limit=limit, past=known).answer.mid <= limit
        )


def test_history_of_another_version_is_used_where_readable() -> None:
    good = Measurement(provider="here", model="m", answered=5).as_dict()
    records: list[dict[str, Any]] = [
        {"lessons": [good | {"later": 1}, {"answered": "many"}, 7]},
        {},
        {"lessons": None},
    ]

    assert measurements(records, "here") == [Measurement(provider="here", model="m", answered=5)]
    assert measurements(records, "there") == []


def test_interval_sum_adds_the_bounds() -> None:
    assert Interval(1, 2, 4).plus(Interval(1, 1, 1)) == Interval(2, 3, 5)
    assert math.isinf(Interval(1, 2, math.inf).times(2).high)


def _load(
    sample: Sample,
    *,
    rows: int = 1000,
    limit: int | None = None,
    past: list[Measurement] | None = None,
    earlier: EarlierResponses | None = None,
) -> Workload:
    return workload(
        sample,
        rows=rows,
        model="m",
        prompt_key="key",
        max_tokens=limit,
        past=past or [],
        earlier=earlier,
    )
