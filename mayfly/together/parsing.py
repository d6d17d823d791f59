"""Reading what the API answered, leniently: a field may be missing, and a number may be text.

The SDK checks nothing unless it is told to: what is missing reads None, an int64 arrives as text,
and an answer that is no JSON arrives as text altogether. Everything behind this file may rely on
its types.
"""

import math
from collections.abc import Callable
from typing import Any

from mayfly.models.errors import OutcomeUnknown
from mayfly.models.texts import printable
from mayfly.together.errors import translated


def field(value: Any, name: str) -> Any:
    """Return a field of one of the SDK's objects or of plain JSON; None when it is missing."""
    return value.get(name) if isinstance(value, dict) else getattr(value, name, None)


def text(value: Any, name: str) -> str:
    """Return a text field without control characters; "" when it is missing."""
    found = field(value, name)
    return "" if found is None else printable(str(found))


def number(value: Any, name: str) -> float | None:
    """Return a number, whether it came as one or as text; None when it is missing or neither."""
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
    """Return a list; empty when it is missing."""
    found = field(value, name)
    return list(found) if isinstance(found, list | tuple) else []


def must_be_json(call: str, value: Any) -> Any:
    """Return an answer that is JSON, or none at all as to a deletion (OutcomeUnknown).

    A 200 with a page for people is some gateway's, not the API's: nobody knows what was done.
    """
    if isinstance(value, str) and value.strip():
        raise OutcomeUnknown(f"{call}: an answer that is none; look before repeating")
    return value


def needed(call: str, value: Any, name: str) -> str:
    """Return a text field without which the answer is none (OutcomeUnknown)."""
    if found := text(value, name):
        return found
    raise OutcomeUnknown(f"{call}: an answer without {name}; look before repeating")


def listed(call: str, ask: Callable[[], Any]) -> list[Any]:
    """Return all entries of a list, page after page.

    Args:
        call: What is being done, for messages.
        ask: Makes the request for the first page.
    """
    found: list[Any] = []
    cursors: set[str] = set()
    page = _page(call, ask)
    while True:
        entries = items(page, "data")
        found += entries
        cursor = text(page, "next_cursor")
        more = getattr(page, "get_next_page", None)
        # A cursor that comes again would go round in circles.
        if not entries or not cursor or cursor in cursors or more is None:
            return found
        cursors.add(cursor)
        page = _page(call, more)


def _page(call: str, ask: Callable[[], Any]) -> Any:
    """Ask for one page; an answer that is no list must never pass for an empty one."""
    try:
        with translated(call):
            page = ask()
    except AttributeError as error:
        # The SDK takes an answer that is no JSON for one of its pages.
        raise OutcomeUnknown(f"{call}: an answer that is no list") from error
    if page is None or isinstance(page, str):
        raise OutcomeUnknown(f"{call}: an answer that is no list")
    return page
