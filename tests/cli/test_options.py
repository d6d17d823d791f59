"""Options of `run` and `plan` become a job."""

from pathlib import Path
from typing import Any

import pytest

from mayfly.cli.options import JobOptions
from mayfly.models.errors import BadRequest
from mayfly.models.job import Job


def job(**options: Any) -> Job:
    """Return the job of some options."""
    return JobOptions(model="m", **options).job("in.parquet", "out")


def test_missing_options_keep_the_job_defaults() -> None:
    assert job() == Job(input="in.parquet", model="m", output="out")


@pytest.mark.parametrize(
    ("options", "path", "value"),
    [
        ({"image": ("a", "b")}, "prompt.image_columns", ("a", "b")),
        ({"concurrency": "auto"}, "limits.concurrency", None),
        ({"concurrency": "8"}, "limits.concurrency", 8),
        ({"row_timeout": "auto"}, "limits.row_timeout_s", None),
        ({"row_timeout": "10m"}, "limits.row_timeout_s", 600),
        ({"ready_timeout": "2h"}, "rental.ready_timeout_s", 7200),
        ({"max_error_rate": "0"}, "limits.max_error_rate", 0),
        ({"tag": ("a=1", "b=x=y")}, "tags", {"a": "1", "b": "x=y"}),
        ({"reasoning": "off"}, "sampling.reasoning", "off"),
        ({"calibrate": "3"}, "rental.calibrate_rows", 3),
        ({"body": '{"top_k": 5}'}, "sampling.body", '{"top_k": 5}'),
    ],
)
def test_option_sets_its_field(options: dict[str, Any], path: str, value: object) -> None:
    found: Any = job(**options)
    for name in path.split("."):
        found = getattr(found, name)

    assert found == value


def test_option_with_a_file_reads_it(tmp_path: Path) -> None:
    for name, text in {
        "tools.json": '[{"type": "function", "function": {"name": "f"}}]',
        "body.json": '\ufeff{"top_k": 5}',
        "schema.json": '{"name": "x", "strict": true, "schema": {"type": "object"}}',
    }.items():
        (tmp_path / name).write_text(text)

    parsed = job(
        tools=str(tmp_path / "tools.json"),
        body=f"@{tmp_path / 'body.json'}",
        schema=str(tmp_path / "schema.json"),
    )

    assert parsed.prompt.tools == (tmp_path / "tools.json").read_text()
    assert parsed.sampling.body_value() == {"top_k": 5}
    assert parsed.sampling.schema_value() == {"type": "object"}


def test_schema_is_independent_of_file_layout(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"type": "object"}')
    (tmp_path / "b.json").write_text('{\n  "type": "object"\n}\n')

    one, other = (job(schema=str(tmp_path / name)).identity() for name in ("a.json", "b.json"))

    assert one == other
    assert one["sampling.json_schema"] == '{"type": "object"}'


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"embed": "c", "samples": "2"},
            "--embed cannot be combined with --samples; leave one of them out",
        ),
        (
            {"embed": "c", "image": ("p",)},
            "--embed cannot be combined with --image; leave one of them out",
        ),
        (
            {"completions": True, "reasoning": "low"},
            "--completions cannot be combined with --reasoning; leave one of them out",
        ),
        ({"samples": "129"}, "--samples must be at most 128, not 129"),
        ({"logprobs": "21"}, "--logprobs must be at most 20, not 21"),
        ({"max_error_rate": "101"}, "--max-error-rate must be at most 100, not 101"),
        ({"max_cost": "inf"}, "--max-cost must be a finite number, not inf"),
        ({"limit": "1" * 30}, f"--limit must be at most 1,000,000,000,000, not {'1' * 30}"),
        ({"runner": "dask"}, "--runner dask needs the scheduler's address; add --dask tcp://HOST:8786"),
        (
            {"reasoning": "hihg"},
            "--reasoning must be on, off, low, medium or high, not 'hihg'; did you mean high?",
        ),
        ({"stop": ("",)}, "--stop must not be empty"),
        ({"body": "[1]"}, "--body is not a JSON object; this is a list"),
    ],
)  # fmt: skip
def test_invalid_option_is_one_line(options: dict[str, Any], line: str) -> None:
    with pytest.raises(BadRequest) as refused:
        job(**options)

    assert str(refused.value) == line
