"""Generate a text that matches a regular expression, for the `pattern` of a JSON Schema."""

import re
from collections.abc import Callable

# The parser is not public: the old name of the module warns, the new one is private.
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_CLASSES = {
    "CATEGORY_DIGIT": "0123456789",
    "CATEGORY_WORD": f"{_LETTERS}0123456789_",
    "CATEGORY_SPACE": " ",
    "CATEGORY_NOT_DIGIT": _LETTERS,
    "CATEGORY_NOT_WORD": "-",
    "CATEGORY_NOT_SPACE": _LETTERS,
}
_PRINTABLE = "".join(chr(code) for code in range(32, 127))


class UnsupportedPattern(ValueError):
    """The pattern is invalid, or uses an unsupported construct."""


def text_like(pattern: str, below: Callable[[int], int]) -> str:
    """Return a text that matches.

    Args:
        below: Returns a choice from 0 to its argument minus 1.

    Raises:
        UnsupportedPattern: Look-around, back references, or an invalid regular expression.
    """
    try:
        compiled = re.compile(pattern)
        parsed = parser.parse(pattern)
    except re.error as error:
        raise UnsupportedPattern(f"pattern {pattern!r} cannot be read: {error}") from None
    text = "".join(_part(str(op), value, below) for op, value in parsed)
    if compiled.search(text) is None:
        raise UnsupportedPattern(f"pattern {pattern!r} cannot be followed")
    return text


def _part(op: str, value: Any, below: Callable[[int], int]) -> str:  # noqa: PLR0911 - one per kind
    match op:
        case "LITERAL":
            return chr(value)
        case "NOT_LITERAL":
            return "a" if value != ord("a") else "b"
        case "ANY":
            return _LETTERS[below(26)]
        case "IN":
            options = _set(value)
            return options[below(len(options))]
        case "AT":
            return ""
        case "BRANCH":
            branches = value[1]
            return _all(branches[below(len(branches))], below)
        case "SUBPATTERN":
            return _all(value[-1], below)
        case "MAX_REPEAT" | "MIN_REPEAT":
            least, most, inner = value
            times = least + below(min(int(most) - least, 4) + 1)
            return "".join(_all(inner, below) for _ in range(times))
        case _:
            raise UnsupportedPattern(f"pattern uses {op.lower()}, which is not supported")


def _all(parts: Any, below: Callable[[int], int]) -> str:
    return "".join(_part(str(op), value, below) for op, value in parts)


def _set(members: Any) -> str:
    negated = bool(members) and str(members[0][0]) == "NEGATE"
    chars = ""
    for op, value in members:
        match str(op):
            case "LITERAL":
                chars += chr(value)
            case "RANGE":
                chars += "".join(chr(code) for code in range(value[0], min(value[1], 0x17F) + 1))
            case "CATEGORY":
                chars += _CLASSES.get(str(value), "")
            case _:
                pass
    if negated:
        chars = "".join(c for c in _PRINTABLE if c not in chars)
    if not chars:
        raise UnsupportedPattern("pattern has a set that holds nothing")
    return chars
