"""A cell of messages becomes the messages of a request."""

from typing import Any

import orjson

from mayfly.inference.cell_text import RowError, without_nulls
from mayfly.models.failures import BAD_CELL, BAD_MESSAGES

ROLES = frozenset({"system", "user", "assistant", "tool", "developer"})


def is_messages(cell: Any) -> bool:
    """Whether a cell that may be text is a list of messages."""
    return (
        isinstance(cell, list) and bool(cell) and all(isinstance(m, dict) for m in cell)
    ) and "role" in cell[0]


def messages(cell: Any) -> bytes:
    """Return the messages of a cell (a list of role and content, or its JSON) between commas.

    Raises:
        RowError: It holds no messages.
    """
    if isinstance(cell, str | bytes):
        try:
            cell = orjson.loads(cell)
        except orjson.JSONDecodeError as error:
            raise RowError(BAD_MESSAGES, f"not JSON: {error}") from error
    if not isinstance(cell, list) or not cell:
        try:
            str(cell)
        except ValueError as error:  # What cannot be read says why.
            raise RowError(BAD_CELL, str(error)) from error
        raise RowError(BAD_MESSAGES, "not a list of role and content")
    return b",".join(map(_message, cell))


def _message(message: Any) -> bytes:
    if not isinstance(message, dict) or message.get("role") not in ROLES:
        raise RowError(BAD_MESSAGES, f"a message needs a role of {', '.join(sorted(ROLES))}")
    try:
        said = without_nulls(message)
        if "content" not in said and "tool_calls" not in said:
            raise RowError(BAD_MESSAGES, "a message has no content")
        return orjson.dumps(said)
    except UnicodeDecodeError as error:
        raise RowError(BAD_CELL, "a message has bytes that are not UTF-8 text") from error
    except (orjson.JSONEncodeError, RecursionError) as error:
        raise RowError(BAD_MESSAGES, f"a message cannot be sent: {error}") from error
