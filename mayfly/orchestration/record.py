"""Run with or without a Prefect record.

Without a Prefect server the flow's body is called directly; its steps are then plain calls, and
Prefect's API is not used.
"""

import logging
from collections.abc import Callable
from typing import TypeVar

import httpx
from prefect import get_run_logger
from prefect.context import FlowRunContext
from prefect.settings import PREFECT_API_URL, temporary_settings

R = TypeVar("R")


def run_unrecorded(function: Callable[[], R]) -> R:
    """Call a flow's body without a Prefect server."""
    with temporary_settings({PREFECT_API_URL: None}):
        return function()


def root_cause(error: BaseException) -> BaseException:
    """Return the error that began a chain: Prefect wraps some in others that say less."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def reason_of(error: BaseException) -> str:
    """Return in one line why a call to Prefect's API failed."""
    error = root_cause(error)
    # Its own message has several lines.
    if isinstance(error, httpx.HTTPStatusError):
        return f"HTTP {error.response.status_code}"
    first, *_ = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def is_recorded() -> bool:
    """Return whether this code runs inside a Prefect flow run."""
    return FlowRunContext.get() is not None


def run_logger() -> "logging.Logger | logging.LoggerAdapter[logging.Logger]":
    """Return the flow run's logger, or an unused logger outside a flow run."""
    if not is_recorded():
        return logging.getLogger("mayfly.unrecorded")
    return get_run_logger()
