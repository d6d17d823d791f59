"""Convert a cell of messages to the messages of a request."""

from collections.abc import Sequence
from typing import Any

import orjson

from mayfly.inference.cell_text import RowError, without_nulls
from mayfly.models.failures import BAD_CELL, BAD_MESSAGES

ROLES = frozenset({"system", "user", "assistant", "tool", "developer"})


def is_messages(cell: Any) -> bool:
    """Whether a cell is a list of messages rather than text."""
    return (
        isinstance(cell, list) and bool(cell) and all(isinstance(m, dict) for m in cell)
    ) and "role" in cell[0]


def messages(cell: Any, parts: Sequence[bytes] = ()) -> bytes:
    """Return the messages of a cell (a list of role and content, or its JSON), comma-separated.

    Args:
        parts: Content parts, as JSON, to append to the last user message.

    Raises:
        RowError: It has no messages, or no user message for the parts.
    """
    if not parts:
        return b",".join(map(_message, _listed(cell)))
    listed = [*_listed(cell)]
    last = max((at for at, one in enumerate(listed) if _is_of_user(one)), default=None)
    if last is None:
        raise RowError(BAD_MESSAGES, "no user message, which images, sound and videos need")
    fragments = [orjson.Fragment(part) for part in parts]
    listed[last] = {
        **listed[last],
        "content": [*_content_parts(listed[last].get("content")), *fragments],
    }
    return b",".join(map(_message, listed))


def user_message(text: str, parts: Sequence[bytes]) -> bytes:
    """Return a user message with content parts, as JSON, after its text."""
    content = [*_content_parts(text), *map(orjson.Fragment, parts)]
    return _message({"role": "user", "content": content})


def _is_of_user(message: Any) -> bool:
    return isinstance(message, dict) and message.get("role") == "user"


def _content_parts(content: Any) -> list[Any]:
    """Return content as a list of parts, without empty text, which some servers reject."""
    if isinstance(content, list | tuple):
        return [*content]
    return [{"type": "text", "text": content}] if content else []


def _listed(cell: Any) -> list[Any]:
    """Return the messages of a cell as a non-empty list."""
    if isinstance(cell, str | bytes):
        try:
            cell = orjson.loads(cell)
        except orjson.JSONDecodeError as error:
            raise RowError(BAD_MESSAGES, f"not JSON: {error}") from error
    if not isinstance(cell, list) or not cell:
        try:
            str(cell)
        except ValueError as error:  # An unreadable cell says why.
            raise RowError(BAD_CELL, str(error)) from error
        raise RowError(BAD_MESSAGES, "not a list of role and content")
    return cell


def _without_gaps(value: Any) -> Any:
    """Return a list, such as the parts of content, without what a writer has filled in.

    That is null entries, and objects of nothing but nulls: some writers have no null objects.
    """
    if not isinstance(value, list):
        return value
    return [
        {name: inner for name, inner in one.items() if not _is_empty(inner)}
        if isinstance(one, dict)
        else one
        for one in value
        if one is not None
    ]


def _is_empty(value: Any) -> bool:
    if isinstance(value, dict):
        return bool(value) and all(map(_is_empty, value.values()))
    return value is None


def _message(message: Any) -> bytes:
    if not isinstance(message, dict) or message.get("role") not in ROLES:
        raise RowError(BAD_MESSAGES, f"a message needs a role of {', '.join(sorted(ROLES))}")
    try:
        said = without_nulls({name: _without_gaps(one) for name, one in message.items()})
        if said.get("tool_calls") == []:  # A column's other rows have calls.
            del said["tool_calls"]
        if "content" not in said and "tool_calls" not in said:
            raise RowError(BAD_MESSAGES, "a message has no content")
        return orjson.dumps(said)
    except UnicodeDecodeError as error:
        raise RowError(BAD_CELL, "a message has bytes that are not UTF-8 text") from error
    except (orjson.JSONEncodeError, RecursionError) as error:
        raise RowError(BAD_MESSAGES, f"a message cannot be sent: {error}") from error
