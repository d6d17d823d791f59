"""Whether Prefect keeps a record of what runs here.

A run whose temporary server did not start calls the flow's function as it is: then steps are
plain calls, and nothing is asked of Prefect.
"""

import logging
from typing import Any, TypeVar

from prefect import Flow, get_run_logger
from prefect.context import FlowRunContext
from prefect.settings import PREFECT_API_URL, temporary_settings

R = TypeVar("R")


def run_unrecorded(flow: Flow[..., R], parameters: dict[str, Any]) -> R:
    """Call a flow's function without Prefect."""
    with temporary_settings({PREFECT_API_URL: None}):
        return flow.fn(**parameters)


def is_recorded() -> bool:
    """Whether this is part of a flow run of Prefect's."""
    return FlowRunContext.get() is not None


def run_logger() -> "logging.Logger | logging.LoggerAdapter[logging.Logger]":
    """Return the flow run's logger; one that nobody reads where there is no record."""
    if not is_recorded():
        return logging.getLogger("mayfly.unrecorded")
    return get_run_logger()
