"""Impossible measurements in the history are ignored, since they would affect every later plan."""

from typing import Any

import pytest

from mayfly.planning.measurements import Measurement, measurements

GOOD = Measurement(provider="p", answered=10, prompt_tokens=100, completion_tokens=50)


@pytest.mark.parametrize(
    "field",
    [
        {"completion_tokens": 1e20},
        {"prompt_tokens": 10**30},
        {"completion_tokens": "7"},
        {"answered": True},
        {"work_per_s": float("nan")},
        {"rows_per_s": float("inf")},
        {"cold_start_s": -1},
        {"token_ratio": None},
        {"model": 7},
    ],
    ids=str,
)
def test_impossible_measurement_is_ignored(field: dict[str, Any]) -> None:
    record = {"lessons": [GOOD.as_dict() | field, GOOD.as_dict()]}

    assert measurements([record], "p") == [GOOD]


@pytest.mark.parametrize("lessons", [None, 7, "text", {"a": 1}, [7, None]])
def test_record_with_invalid_measurements_has_none(lessons: Any) -> None:
    assert measurements([{"lessons": lessons}], "p") == []
