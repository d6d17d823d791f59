"""Suggestions for a name that does not exist."""

import difflib
from collections.abc import Iterable, Sequence


def nearest(given: str, known: Iterable[str]) -> str:
    """Return a suggestion for the end of a message, such as `; did you mean stop?`, or ""."""
    by_lower = {name.lower(): name for name in known}
    found = difflib.get_close_matches(given.lower(), by_lower, n=1)
    return f"; did you mean {by_lower[found[0]]}?" if found else ""


def one_of(values: Sequence[str]) -> str:
    """Format alternatives: `delete, stop or keep`."""
    *most, last = values
    return f"{', '.join(most)} or {last}" if most else last
