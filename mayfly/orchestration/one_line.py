"""Reduce expected errors to one line, in a run's state and in its log.

The message of a `MayflyError` says what is wrong and what to do; Prefect would add the class name
and two long tracebacks. Tracebacks are kept for unexpected errors.
"""

import logging
import os
from collections.abc import Callable
from typing import Any, TypeVar, cast

from prefect.states import Failed
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from mayfly.models.errors import BadRequest, MayflyError
from mayfly.models.job import Job
from mayfly.models.job_fields import problem_of
from mayfly.orchestration.credentials import TogetherCredentials
from mayfly.orchestration.record import is_recorded
from mayfly.storage.uri_credentials import conceal

R = TypeVar("R")

_LOGGERS = ("prefect.flow_runs", "prefect.task_runs", "prefect.engine")
_AGAIN = ("Engine execution exited", "exited with unexpected exception")
"""Parts of Prefect's messages that only repeat the error in the run's state."""


def ended_in_one_line(body: Callable[[], R]) -> R:
    """Call a flow's body; turn an expected error into a Failed state with its message.

    The caller of the flow still gets the error itself.
    """
    _shorten_logs()
    try:
        return body()
    except MayflyError as error:
        if not is_recorded():
            raise
        return cast("R", Failed(message=str(error), data=error))


def job_of(parameters: dict[str, Any]) -> Job:
    """Return the job of a flow's parameters.

    Raises:
        BadRequest: A parameter is invalid; the message names the field by its title in the form.
    """
    # An omitted parameter has the signature's default, which only describes the field.
    given = {k: v for k, v in parameters.items() if not isinstance(v, FieldInfo)}
    if isinstance(given.get("input"), str):
        given["input"] = conceal(given["input"], os.environ)
    try:
        return Job.model_validate(given)
    except ValidationError as error:
        raise BadRequest(problem_of(error, form_title)) from error


def form_title(path: str) -> str:
    """Return the title of a field in the form, by its path such as `limits.max_cost_usd`."""
    model: Any = Job
    title = ""
    for name in path.split("."):
        field = model.model_fields[name]
        title, model = field.title or name, type(field.default)
    return title


def credentials_of(given: object) -> TogetherCredentials | None:
    """Return the credentials that a flow was given: a block, a reference to one, or nothing.

    Raises:
        BadRequest: The block does not exist, or has another type.
    """
    if given is None or isinstance(given, TogetherCredentials):
        return given
    reference = given.get("$ref") if isinstance(given, dict) else None
    if reference is None:
        raise BadRequest("Credentials must be a Together Credentials block; choose one in the form")
    try:
        block = TogetherCredentials.load_from_ref(reference)
    except (ValueError, RuntimeError) as error:
        raise BadRequest(
            "Credentials: this Together Credentials block no longer exists; choose another"
        ) from error
    return cast("TogetherCredentials", block)


class _Shorten(logging.Filter):
    """Reduces an expected error in Prefect's log to one line, and drops repetitions."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, MayflyError):
            return True
        if any(words in str(record.msg) for words in _AGAIN):
            return False
        record.msg, record.args = str(error), ()
        record.exc_info = record.exc_text = None
        return True


def _shorten_logs() -> None:
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(each, _Shorten) for each in logger.filters):
            logger.addFilter(_Shorten())
