"""Statistics of an output are those of its rows."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mayfly.models.failures import TOO_LONG, Failure
from mayfly.reporting.output_stats import Results, _count, _sample

COLUMNS = ("error", "finish_reason", "latency_s", "attempts", "prompt_tokens", "completion_tokens")


@pytest.fixture
def part(tmp_path: Path) -> Path:
    """A part of 6 rows: 4 answered, 2 failed."""
    error = str(Failure(TOO_LONG, "of 9 tokens", 413, attempts=1))
    again = Failure(TOO_LONG, "of 8 tokens", 413, attempts=2)
    table = pa.table(
        {
            "prompt": [f"p{row}" for row in range(6)],
            "response": ["a", "b", None, "c", None, "d"],
            # Sent once or twice, and for another number of tokens, it is the same kind.
            "error": [None, None, error, None, str(again), None],
            "finish_reason": ["stop", "length", None, "stop", None, "stop"],
            "latency_s": [1.0, 2.0, 0.0, 4.0, 0.0, 8.0],
            "attempts": pa.array([1, 2, 1, 1, 1, 3], pa.int32()),
            "prompt_tokens": pa.array([10, 10, None, 10, None, 10]),
            "completion_tokens": pa.array([1, 2, None, 3, None, 1000]),
            "reasoning": ["thought", None, None, None, None, None],
        }
    )
    path = tmp_path / "part-000000.parquet"
    pq.write_table(table, path)
    return path


def test_tokens_attempts_and_reasons_are_counted(part: Path) -> None:
    results = Results()

    _count(results, part, 100)
    figures = results.as_dict()

    assert figures["finish_reasons"] == {"stop": 3, "length": 1}
    assert figures["per_row"]["attempts"] == {"1": 4, "2": 1, "3": 1}
    assert figures["per_row"]["prompt_tokens"]["max"] == 10
    assert figures["per_row"]["completion_tokens"]["mean"] == 1006 / 4
    assert figures["per_row"]["tokens"]["max"] == 1010
    assert figures["latency"]["count"] == 4


def test_failed_rows_are_listed_and_summed_up_by_kind(part: Path) -> None:
    results = Results()

    _count(results, part, 100)
    figures = results.as_dict()

    assert [row["row"] for row in figures["failed_rows"]] == [102, 104]
    assert figures["failed_rows"][0] == {
        "row": 102, "class": "too_long", "status": 413, "attempts": 1, "message": "of 9 tokens"
    }  # fmt: skip
    assert [kind["rows"] for kind in figures["errors"]] == [2]


def test_samples_are_answered_rows_with_all_that_came(part: Path) -> None:
    results = Results()

    _sample(results, part, 100, ["prompt", "absent"], [], wanted=2)

    assert [one["row"] for one in results.samples] == [100, 101]
    assert results.samples[0]["asked"] == {"prompt": "p0"}
    assert results.samples[0]["reasoning"] == "thought"
