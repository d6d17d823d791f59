"""Text that can be written as UTF-8, and text that a terminal takes as text."""

import re
from typing import Any

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


def printable(text: str) -> str:
    """Return a text on one line without the characters by which a terminal is controlled.

    A server's or a file's words may hold escape sequences that move the cursor, set the title or
    hide what follows.
    """
    if text.isprintable():
        return text
    return _CONTROLS.sub(" ", text)


def without_surrogates(text: str) -> str:
    """Return a text with U+FFFD for each half of a surrogate pair, which has no UTF-8."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def cleaned(value: Any) -> Any:
    """Return a JSON value whose every text has UTF-8.

    Raises:
        RecursionError: It is nested too deep.
    """
    if isinstance(value, str):
        return without_surrogates(value)
    if isinstance(value, list):
        return [cleaned(item) for item in value]
    if isinstance(value, dict):
        return {without_surrogates(key): cleaned(item) for key, item in value.items()}
    return value
