"""Whether Prefect keeps a record of what runs here.

A run whose temporary server did not start calls the flow's function as it is: then steps are
plain calls, and nothing is asked of Prefect.
"""

import logging
from collections.abc import Callable
from typing import TypeVar

from prefect import get_run_logger
from prefect.context import FlowRunContext
from prefect.settings import PREFECT_API_URL, temporary_settings

R = TypeVar("R")


def run_unrecorded(function: Callable[[], R]) -> R:
    """Call what a flow does without Prefect."""
    with temporary_settings({PREFECT_API_URL: None}):
        return function()


def is_recorded() -> bool:
    """Whether this is part of a flow run of Prefect's."""
    return FlowRunContext.get() is not None


def run_logger() -> "logging.Logger | logging.LoggerAdapter[logging.Logger]":
    """Return the flow run's logger; one that nobody reads where there is no record."""
    if not is_recorded():
        return logging.getLogger("mayfly.unrecorded")
    return get_run_logger()
