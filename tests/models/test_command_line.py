"""The printed command of a job makes the same job again."""

import shlex
from typing import Any

import pytest

from mayfly.cli.options import JobOptions
from mayfly.models.command_line import run_command
from mayfly.models.job import Job


def job(**groups: Any) -> Job:
    """Return a job with values that need quoting."""
    plain = {"input": "my data/*.parquet", "model": "Qwen/Q", "output": "out"}
    return Job.model_validate({**plain, **groups})


def test_command_of_a_plain_job_has_only_what_it_needs() -> None:
    assert run_command(job(), "--retry-failed") == (
        "mayfly run 'my data/*.parquet' --model Qwen/Q --output out --retry-failed"
    )


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ({"prompt": {"template": "Say '{{ x }}'"}}, ["--prompt", "Say '{{ x }}'"]),
        ({"sampling": {"temperature": 0.0}}, ["--temperature", "0"]),
        ({"sampling": {"stop": ["\n", "#"]}}, ["--stop", "\n", "--stop", "#"]),
        ({"limits": {"deadline_s": 5400}}, ["--deadline", "90m"]),
        ({"rental": {"api": "v1", "speculative_decoding": False}}, ["--no-speculative-decoding"]),
        ({"tags": {"team": "a b"}}, ["--tag", "team=a b"]),
        ({"sampling": {"json_schema": '{"type": "object"}'}}, ["--schema", "FILE"]),
    ],
)
def test_command_has_what_differs_from_the_defaults(
    groups: dict[str, Any], expected: list[str]
) -> None:
    found = shlex.split(run_command(job(**groups)))

    joined = "\0".join(found)
    assert "\0".join(expected) in joined


def test_options_of_the_command_make_the_same_job() -> None:
    made = job(
        prompt={"template": "{{ x }}", "system": "be terse"},
        sampling={"max_tokens": 5, "temperature": 0.25},
        limits={"max_cost_usd": 12.5, "deadline_s": 3600, "concurrency": 7},
        rows={"limit": 10},
    )
    expected = shlex.split(run_command(made))[3:]
    given: dict[str, Any] = dict(zip(expected[::2], expected[1::2], strict=True))
    output = given.pop("--output")
    options = JobOptions(**{name[2:].replace("-", "_"): value for name, value in given.items()})

    assert options.job(made.input, output) == made
