"""Classify HTTP responses: retry the row, fail the row, or end the run.

Source: Together API, chat completions and error codes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from mayfly.models.http_errors import (
    CREDENTIALS,
    MAX_RETRY_AFTER_S,
    TIMEOUTS,
    is_refused_load,
    is_retryable,
    retry_after,
)

_AT_ONCE = frozenset({401, 402})
_UNROUTED = frozenset(
    {"endpoint_not_configured", "routing_error", "dedicated_endpoint_not_running"}
)
_FATAL = frozenset({"model_not_available", "streaming_required"})


class Action(Enum):
    """What to do with a row after a response."""

    RETRY = "retry"
    FAIL_ROW = "fail the row"
    WAIT_FOR_ROUTE = "wait for the route"
    END_CREDENTIALS = "end: credentials"
    END_ENDPOINT = "end: endpoint"


@dataclass(frozen=True, slots=True)
class Verdict:
    """An action, the server's Retry-After, and what the response says about load.

    Attributes:
        asked_s: The server's Retry-After in seconds, or None.
        overload: Work was started but timed out: fewer requests in flight may help.
        refused_load: Rejected before any work was done; it costs the row no attempt.
        at_once: A single such response ends the run: the key or account is wrong for all rows.
    """

    action: Action
    asked_s: float | None = None
    overload: bool = False
    refused_load: bool = False
    at_once: bool = False

    @property
    def retry_after_s(self) -> float | None:
        """How long to wait at the server's request, in seconds: at most a minute."""
        return None if self.asked_s is None else min(self.asked_s, MAX_RETRY_AFTER_S)

    @property
    def capped(self) -> bool:
        """Whether the server asked for a longer wait than `retry_after_s`."""
        return self.asked_s is not None and self.asked_s > MAX_RETRY_AFTER_S


FAIL_ROW = Verdict(Action.FAIL_ROW)


def judge(
    status: int, code: str = "", header: Callable[[str], str | None] = lambda _name: None
) -> Verdict:
    """Return the verdict on an HTTP response that is not 200.

    Args:
        status: HTTP status.
        code: The error body's `code`, or "".
        header: Returns a header by its lower-case name.
    """
    if code in _UNROUTED:
        return Verdict(Action.WAIT_FOR_ROUTE, retry_after(header))
    if code in _FATAL or status in (404, 410):
        return Verdict(Action.END_ENDPOINT)
    if is_refused_load(status, code):
        return Verdict(Action.RETRY, retry_after(header), refused_load=True)
    if status in CREDENTIALS:
        # A 403 may be about one row: formerly the response to a prompt that is too long.
        return Verdict(Action.END_CREDENTIALS, at_once=status in _AT_ONCE)
    if not is_retryable(status):
        return FAIL_ROW
    return Verdict(Action.RETRY, retry_after(header), overload=status in TIMEOUTS)
