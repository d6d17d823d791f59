"""Samples of a run's rows for the report: prompt columns, and everything in the response."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mayfly.reporting.thumbnails import thumbnail
from mayfly.storage.cells import shown

SHOWN_CHARACTERS = 1000
"""Maximum length of a text in the report, in characters."""

ANSWER_COLUMNS = (
    "response",
    "reasoning",
    "tool_calls",
    "responses",
    "parsed",
    "embedding",
    "finish_reason",
    "prompt_tokens",
    "completion_tokens",
    "latency_s",
)
"""The output columns that a sample shows, if they are present."""


def is_answered(row: Mapping[str, Any]) -> bool:
    """Return whether a row of a part has an answer."""
    return row["error"] is None


def sample(
    number: int, row: Mapping[str, Any], columns: Sequence[str], images: Sequence[str] = ()
) -> dict[str, Any]:
    """Return one row of a part as plain JSON values.

    Args:
        number: Index of the row in the input, from 0.
        columns: The input columns used in the prompt.
        images: Those of them that hold images, shown as thumbnails.
    """
    found: dict[str, Any] = {
        "row": number,
        "asked": {
            name: cut(row[name] if isinstance(row[name], str) else _text(row[name]))
            for name in columns
            if name in row and name not in images
        },
        "response": None if row.get("response") is None else cut(row["response"]),
    }
    if pictures := [picture for name in images for picture in _pictures(row.get(name))]:
        found["images"] = pictures
    if reasoning := row.get("reasoning"):
        found["reasoning"] = cut(reasoning)
    if calls := row.get("tool_calls"):
        found["tool_calls"] = tool_calls(calls)
    if several := row.get("responses"):
        found["responses"] = [None if text is None else cut(text) for text in several]
    if row.get("embedding") is not None:
        found["embedding"] = f"{len(row['embedding']):,} numbers"
    for name in ("finish_reason", "prompt_tokens", "completion_tokens", "latency_s"):
        if row.get(name) is not None:
            found[name] = row[name]
    return found


def tool_calls(text: str) -> list[str]:
    """Return tool calls as `name(arguments)`, from their JSON list."""
    try:
        calls = [
            f"{call['function']['name']}({call['function'].get('arguments', '')})"
            for call in json.loads(text)
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return [cut(text)]
    return [cut(call) for call in calls]


def cut(text: str) -> str:
    """Return a text cut to `SHOWN_CHARACTERS`."""
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return f"{len(value):,} bytes"
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=_text)
    return shown(value)


def _pictures(value: Any) -> list[dict[str, str]]:
    values = value if isinstance(value, list) else [value]
    return [thumbnail(one) for one in values[:4] if one is not None]
