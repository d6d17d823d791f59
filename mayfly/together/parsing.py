"""Parse the API's responses leniently: a field may be missing, and a number may be text.

The SDK does not validate responses: a missing field is None, an int64 is text, and a response that
is not JSON is text as a whole. Callers of this module can rely on the types it returns.
"""

import math
from collections.abc import Callable
from typing import Any

from mayfly.models.errors import OutcomeUnknown
from mayfly.models.texts import printable
from mayfly.together.errors import translated


def field(value: Any, name: str) -> Any:
    """Return a field of an SDK object or of plain JSON; None if it is missing."""
    return value.get(name) if isinstance(value, dict) else getattr(value, name, None)


def text(value: Any, name: str) -> str:
    """Return a text field without control characters; "" if it is missing."""
    found = field(value, name)
    return "" if found is None else printable(str(found))


def number(value: Any, name: str) -> float | None:
    """Return a number, given as a number or as text; None if it is missing or invalid."""
    found = field(value, name)
    if isinstance(found, bool):
        return None
    try:
        value = math.nan if found is None else float(found)
    except (TypeError, ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def count(value: Any, name: str) -> int | None:
    """Return a whole number; see `number`."""
    found = number(value, name)
    return None if found is None else int(found)


def items(value: Any, name: str) -> list[Any]:
    """Return a list; empty if it is missing."""
    found = field(value, name)
    return list(found) if isinstance(found, list | tuple) else []


def must_be_json(call: str, value: Any) -> Any:
    """Return a JSON response, or an empty one as for a deletion (else OutcomeUnknown).

    A 200 with an HTML page is from a gateway, not from the API: the outcome is unknown.
    """
    if isinstance(value, str) and value.strip():
        raise OutcomeUnknown(f"{call}: the response is not JSON; check before retrying")
    return value


def needed(call: str, value: Any, name: str) -> str:
    """Return a required text field (OutcomeUnknown if it is missing)."""
    if found := text(value, name):
        return found
    raise OutcomeUnknown(f"{call}: the response has no {name}; check before retrying")


def listed(call: str, request: Callable[[], Any]) -> list[Any]:
    """Return all entries of a paginated list.

    Args:
        call: Name of the operation, for messages.
        request: Requests the first page.
    """
    found: list[Any] = []
    cursors: set[str] = set()
    page = _page(call, request)
    while True:
        entries = items(page, "data")
        found += entries
        cursor = text(page, "next_cursor")
        more = getattr(page, "get_next_page", None)
        # A repeated cursor would loop for ever.
        if not entries or not cursor or cursor in cursors or more is None:
            return found
        cursors.add(cursor)
        page = _page(call, more)


def _page(call: str, request: Callable[[], Any]) -> Any:
    """Request one page; a response that is not a list must not be taken for an empty one."""
    try:
        with translated(call):
            page = request()
    except AttributeError as error:
        # The SDK takes a response that is not JSON for one of its pages.
        raise OutcomeUnknown(f"{call}: the response is not a list") from error
    if page is None or isinstance(page, str):
        raise OutcomeUnknown(f"{call}: the response is not a list")
    return page
