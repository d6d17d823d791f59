"""Errors that users cause are one line, in the names of the form."""

import logging

import pytest

from mayfly.models.errors import BadRequest
from mayfly.models.job import Job
from mayfly.models.job_fields import parameter
from mayfly.orchestration.one_line import (
    credentials_of,
    ended_in_one_line,
    form_title,
    job_of,
)

GIVEN = {"input": "a.parquet", "model": "Qwen/Qwen2.5-7B-Instruct", "output": "out"}


def test_invalid_value_is_named_by_its_form_title() -> None:
    with pytest.raises(BadRequest) as caught:
        job_of(GIVEN | {"sampling": {"temperature": 9}})

    assert "\n" not in str(caught.value)
    assert form_title("sampling.temperature") in str(caught.value)
    assert "http" not in str(caught.value)


def test_missing_parameter_is_the_job_default() -> None:
    job = job_of(GIVEN | {"limits": parameter(Job, "limits"), "tags": parameter(Job, "tags")})

    assert job == Job.model_validate(GIVEN)


def test_missing_input_is_one_line() -> None:
    with pytest.raises(BadRequest, match="Input") as caught:
        job_of({**GIVEN, "input": parameter(Job, "input")})

    assert "\n" not in str(caught.value)


def test_invalid_credentials_block_is_refused_in_one_line() -> None:
    assert credentials_of(None) is None
    with pytest.raises(BadRequest, match="choose one in the form"):
        credentials_of("tgp_v1_my_key")


def test_expected_error_without_prefect_is_raised_unchanged() -> None:
    def body() -> None:
        raise BadRequest("input a.parquet does not exist")

    with pytest.raises(BadRequest, match="does not exist"):
        ended_in_one_line(body)


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("Encountered exception during execution: %r", "no such file"),
        ("Engine execution exited with unexpected exception", None),
    ],
)
def test_expected_error_is_logged_in_one_line_without_traceback(
    message: str, shown: str | None
) -> None:
    ended_in_one_line(lambda: None)
    error = BadRequest("no such file")
    logger = logging.getLogger("prefect.flow_runs")
    info = (BadRequest, error, None)
    record = logger.makeRecord("x", logging.ERROR, "f", 1, message, (error,), info)

    kept = logger.filter(record)

    assert (record.getMessage() if kept else None) == shown
    assert not kept or record.exc_info is None


def test_unexpected_error_is_logged_with_its_traceback() -> None:
    ended_in_one_line(lambda: None)
    logger = logging.getLogger("prefect.flow_runs")
    info = (KeyError, KeyError("pace"), None)
    record = logger.makeRecord("x", logging.ERROR, "f", 1, "it failed", (), info)

    assert logger.filter(record)
    assert record.exc_info is not None
