"""Reading what the API answered, leniently: a field may be missing, and a number may be text.

The SDK checks nothing unless it is told to: what is missing reads None, an int64 arrives as text,
and an answer that is no JSON arrives as text altogether. Everything behind this file may rely on
its types.
"""

from collections.abc import Callable
from typing import Any

from tasks.cloud.api_errors import translated
from tasks.core.errors import OutcomeUnknown


def field(value: Any, name: str) -> Any:
    """Return a field of one of the SDK's objects or of plain JSON; None when it is missing."""
    return value.get(name) if isinstance(value, dict) else getattr(value, name, None)


def text(value: Any, name: str) -> str:
    """Return a text field; "" when it is missing."""
    found = field(value, name)
    return "" if found is None else str(found)


def number(value: Any, name: str) -> float | None:
    """Return a number, whether it came as one or as text; None when it is missing or neither."""
    found = field(value, name)
    if isinstance(found, bool):
        return None
    try:
        return None if found is None else float(found)
    except (TypeError, ValueError):
        return None


def count(value: Any, name: str) -> int | None:
    """Return a whole number; see `number`."""
    found = number(value, name)
    return None if found is None else int(found)


def items(value: Any, name: str) -> list[Any]:
    """Return a list; empty when it is missing."""
    found = field(value, name)
    return list(found) if isinstance(found, list | tuple) else []


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
    with translated(call):
        page = ask()
    while True:
        if isinstance(page, str) or page is None:
            raise OutcomeUnknown(f"{call}: an answer that is no list")
        entries = items(page, "data")
        found += entries
        cursor = text(page, "next_cursor")
        more = getattr(page, "get_next_page", None)
        # A cursor that comes again would go round in circles.
        if not entries or not cursor or cursor in cursors or more is None:
            return found
        cursors.add(cursor)
        with translated(call):
            page = more()
