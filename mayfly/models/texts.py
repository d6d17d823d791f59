"""Text without what cannot be encoded as UTF-8, and without terminal control characters."""

import re
from typing import Any

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


def printable(text: str) -> str:
    """Return a text in one line without control characters.

    Text from a server or a file may hold escape sequences that move the cursor, set the title or
    hide what follows.
    """
    if text.isprintable():
        return text
    return _CONTROLS.sub(" ", text)


def without_surrogates(text: str) -> str:
    """Return a text with U+FFFD for each lone surrogate, which UTF-8 cannot encode."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def cleaned(value: Any) -> Any:
    """Return a JSON value without lone surrogates in any text.

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
