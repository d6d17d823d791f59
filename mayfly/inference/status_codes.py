"""What an answer means for its row: done, again, an error of the row, or the end of the run.

Source: Together API, chat completions and error codes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum

RETRYABLE = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 524, 529})
OVERLOAD = frozenset({408, 429, 503, 504, 524, 529})
_CREDENTIALS = frozenset({401, 402, 403})
_AT_ONCE = frozenset({401, 402})
_UNROUTED = frozenset(
    {"endpoint_not_configured", "routing_error", "dedicated_endpoint_not_running"}
)
_FATAL = frozenset({"model_not_available", "streaming_required"})


class Action(Enum):
    """What to do with a row after an answer."""

    ACCEPT = "accept"
    RETRY = "retry"
    FAIL_ROW = "fail the row"
    WAIT_FOR_ROUTE = "wait for the route"
    END_CREDENTIALS = "end: credentials"
    END_ENDPOINT = "end: endpoint"


@dataclass(frozen=True, slots=True)
class Verdict:
    """An action, with how long to wait at least and whether the endpoint is overloaded.

    Attributes:
        at_once: One such answer ends the run: a key or an account is wrong for every row.
    """

    action: Action
    retry_after_s: float | None = None
    overload: bool = False
    at_once: bool = False


ACCEPT = Verdict(Action.ACCEPT)


def judge(
    status: int, code: str = "", header: Callable[[str], str | None] = lambda _name: None
) -> Verdict:
    """Return the verdict on an HTTP answer.

    Args:
        status: HTTP status.
        code: The error body's `code`, or "".
        header: Looks a header up by its lower-case name.
    """
    if status == 200:
        return ACCEPT
    if code in _UNROUTED:
        return Verdict(Action.WAIT_FOR_ROUTE, retry_after(header))
    if code in _FATAL or status in (404, 410):
        return Verdict(Action.END_ENDPOINT)
    if status in _CREDENTIALS:
        # A 403 may be about one row: older answers for a prompt too long were of this kind.
        return Verdict(Action.END_CREDENTIALS, at_once=status in _AT_ONCE)
    if status in RETRYABLE or status >= 500:
        return Verdict(Action.RETRY, retry_after(header), status in OVERLOAD)
    return Verdict(Action.FAIL_ROW)


def retry_after(header: Callable[[str], str | None]) -> float | None:
    """Return what the server asks for, in seconds, or None when it asks for nothing.

    Read are `retry-after-ms`, `retry-after` (seconds, or a date, counted from the answer's own
    `date`), and `x-ratelimit-reset` (seconds).
    """
    units_s = (("retry-after-ms", 0.001), ("retry-after", 1.0), ("x-ratelimit-reset", 1.0))
    for name, unit_s in units_s:
        text = header(name)
        if not text:
            continue
        try:
            return max(0.0, float(text) * unit_s)
        except ValueError:
            pass
        try:
            sent = parsedate_to_datetime(header("date") or "")
            return max(0.0, (parsedate_to_datetime(text) - sent).total_seconds())
        except (TypeError, ValueError):
            continue
    return None
