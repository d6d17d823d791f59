"""Prompt lengths, and rows beyond the context length."""

from mayfly.planning.prompt_sizes import PromptSizes


def test_rows_over_a_context_are_extrapolated_from_the_sample() -> None:
    sizes = PromptSizes.of_sample([10.0] * 98 + [5_000.0, 9_000.0], rows=10_000, mean=149.8)

    assert sizes is not None
    assert sizes.over(8_192) == 100
    assert sizes.over(4_000) == 200
    assert sizes.over(9_001) == 0
    assert (sizes.quantile(0.5), sizes.quantile(0.99), sizes.longest) == (10, 9_000, 9_000)


def test_prompt_sizes_are_corrected_by_finished_runs() -> None:
    sizes = PromptSizes.of_sample([1.0, 3.0], rows=2, mean=4.0)

    assert sizes is not None
    assert sizes.tokens == (2.0, 6.0)


def test_prompt_histogram_counts_every_row_once() -> None:
    sizes = PromptSizes.of_sample([1.0, 3.0, 4.0, 5.0], rows=400, mean=13 / 4)

    assert sizes is not None
    assert sizes.histogram() == [
        {"up_to": 1, "rows": 100},
        {"up_to": 2, "rows": 0},
        {"up_to": 4, "rows": 200},
        {"up_to": 8, "rows": 100},
    ]


def test_empty_sample_has_no_sizes() -> None:
    assert PromptSizes.of_sample([], rows=0, mean=1.0) is None
