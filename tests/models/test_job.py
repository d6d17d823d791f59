"""Validation and identity of a job."""

import pytest
from pydantic import ValidationError

from mayfly.cli.options import JobOptions
from mayfly.models.durations import read_span
from mayfly.models.errors import BadRequest
from mayfly.models.job import Job, fingerprint


def job(**changes: object) -> Job:
    """Return a small job with some fields changed."""
    return Job.model_validate({"input": "in.parquet", "model": "m", "output": "out"} | changes)


def test_job_needs_three_fields() -> None:
    assert job().rental.teardown == "delete"


@pytest.mark.parametrize(
    "wrong",
    [
        {"typo": 1},
        {"rental": {"replicas": "3-1"}},
        {"rental": {"replicas": "0"}},
        {"rental": {"replicas": "two"}},
        {"prompt": {"template": "x", "messages_column": "y"}},
        {"sampling": {"temperature": 3}},
        {"limits": {"concurrency": 0}},
    ],
)
def test_invalid_job_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        job(**wrong)


@pytest.mark.parametrize(
    "same", [{"rental": {"hardware": "x"}}, {"limits": {"concurrency": 8}}, {"output": "other"}]
)
def test_job_on_other_hardware_has_the_same_identity(same: dict[str, object]) -> None:
    assert fingerprint(job(**same).identity(), "i", "p") == fingerprint(job().identity(), "i", "p")


@pytest.mark.parametrize(
    "other",
    [
        {"model": "n"},
        {"prompt": {"system": "s"}},
        {"sampling": {"seed": 1}},
        {"rows": {"limit": 5}},
        {"prompt": {"image_columns": ["picture"]}},
        {"prompt": {"tools": '[{"type": "function", "function": {"name": "f"}}]'}},
        {"sampling": {"reasoning": "off"}},
        {"sampling": {"samples": 2}},
        {"sampling": {"logprobs": 0}},
        {"sampling": {"body": "{}"}},
        {"sampling": {"body_column": "more"}},
    ],
)
def test_job_identity_depends_on_what_decides_the_answers(other: dict[str, object]) -> None:
    assert fingerprint(job(**other).identity(), "i", "p") != fingerprint(job().identity(), "i", "p")


def test_job_of_an_earlier_release_keeps_its_identity() -> None:
    assert job(sampling={"stop": ["a"]}).identity() == {
        "model": "m",
        "prompt.template": None,
        "prompt.messages_column": None,
        "prompt.system": None,
        "prompt.completions": False,
        "prompt.embed_column": None,
        "sampling.max_tokens": None,
        "sampling.temperature": None,
        "sampling.top_p": None,
        "sampling.seed": None,
        "sampling.stop": ["a"],
        "sampling.json_schema": None,
        "limit": None,
    }


def test_job_on_the_emulator_has_another_identity() -> None:
    identity = job().identity()

    assert fingerprint(identity, "i", "loopback") != fingerprint(identity, "i", "api.together.ai")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90m", 5400), ("2h", 7200), ("1h30m", 5400), ("45s", 45), ("1.5h", 5400)]
)
def test_duration_is_parsed_in_common_forms(text: str, seconds: float) -> None:
    assert read_span(text) == seconds


@pytest.mark.parametrize("text", ["90", "soon", "5x", "1h 30", "-5m", ""])
def test_invalid_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a duration such as 90m"):
        read_span(text)


def test_invalid_value_is_one_line_that_names_the_field() -> None:
    with pytest.raises(BadRequest) as refused:
        JobOptions(model="m", temperature=9).job("in.parquet", "out")

    assert "--temperature must be at most 2, not 9" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["input", "output"])
def test_zero_byte_in_a_name_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="zero byte"):
        job(**{name: "a\0b"})
