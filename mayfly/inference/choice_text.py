"""Extract the texts of one choice of a reply: text, reasoning, refusal and tool calls."""

from typing import Any, NamedTuple

import orjson

REASONING = ("reasoning", "reasoning_content", "thinking")

_KNOWN_OF_CHOICE = frozenset(
    {
        "delta",
        "error",
        "finish_reason",
        "index",
        "logprobs",
        "matched_stop",
        "message",
        "seed",
        "stop_reason",
        "text",
    }
)
_KNOWN_OF_MESSAGE = frozenset(
    {"content", "function_call", "name", "refusal", "role", "tool_calls", *REASONING}
)
"""Fields that have a column or are of no interest; all others are counted as dropped."""


_PLAIN = frozenset({"content", "role"})


class Said(NamedTuple):
    """The texts of a choice; `tool_calls` is a JSON list."""

    text: str | None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: str | None = None


def said(choice: Any, dropped: set[str]) -> Said:
    """Return the texts of a choice.

    Args:
        dropped: Receives the names of fields that have no column.
    """
    if type(choice) is not dict:
        return Said(text_of(choice))
    message = choice.get("message")
    # The common case; the rest of this function takes five times as long.
    if (
        type(message) is dict
        and message.keys() == _PLAIN
        and type(content := message["content"]) is str
        and choice.keys() <= _KNOWN_OF_CHOICE
    ):
        return Said(content)
    if type(message) is list and message and type(message[-1]) is dict and "role" in message[-1]:
        message = message[-1]  # The conversation with its answer.
    if not message and type(delta := choice.get("delta")) is dict:
        message = delta
    if type(message) is not dict:
        message = {"content": choice.get("text") if message is None else message}
    elif not message.keys() <= _KNOWN_OF_MESSAGE:
        dropped.update(key for key in message.keys() - _KNOWN_OF_MESSAGE if message[key])
    if not choice.keys() <= _KNOWN_OF_CHOICE:
        dropped.update(key for key in choice.keys() - _KNOWN_OF_CHOICE if choice[key])
    content = message.get("content")
    if not content and choice.get("text"):
        content = choice["text"]
    is_text = content is None or type(content) is str
    found = Said(content) if is_text else _parts(content, dropped)
    calls = _tool_calls(message)
    if calls is None and (calls := _tool_calls(choice)) is not None:
        dropped -= {"tool_calls", "function_call"}
    return Said(
        found.text,
        found.reasoning or _reasoning(message),
        text_of(message.get("refusal")) or found.refusal,
        calls,
    )


def _reasoning(message: dict[str, Any]) -> str | None:
    for name in REASONING:
        if given := message.get(name):
            return text_of(given)
    return None


def _tool_calls(message: dict[str, Any]) -> str | None:
    if given := message.get("tool_calls"):
        return as_json(given if type(given) is list else [given])
    if given := message.get("function_call"):  # The predecessor of tool calls.
        return as_json([{"type": "function", "function": given}])
    return None


def _parts(content: Any, dropped: set[str]) -> Said:
    """Return the texts of content that is not a string."""
    if not isinstance(content, list):
        return Said(text_of(content))
    found: dict[str, list[str]] = {"text": [], "reasoning": [], "refusal": []}
    for part in content:
        if isinstance(part, dict):
            _part(part, found, dropped)
        elif part is not None:
            found["text"].append(text_of(part) or "")
    return Said(*("".join(texts) if texts else None for texts in found.values()))


def _part(part: dict[str, Any], found: dict[str, list[str]], dropped: set[str]) -> None:
    kind = part.get("type")
    if part.get("refusal"):
        found["refusal"].append(text_of(part["refusal"]) or "")
    elif kind in ("thinking", "reasoning") or part.get("thinking"):
        found["reasoning"].append(text_of(part.get("thinking") or part.get("text")) or "")
    elif "text" in part:
        found["text"].append(text_of(part["text"]) or "")
    else:
        dropped.add(f"content of type {kind}" if isinstance(kind, str) else "content")


def text_of(value: Any) -> str | None:
    """Return a string, the joined parts of one, or any other value as JSON."""
    if value is None or type(value) is str:
        return value
    if isinstance(value, list):
        texts = [_part_text(part) for part in value]
        if None not in texts:
            return "".join(text for text in texts if text is not None)
    return _part_text(value) or as_json(value)


def _part_text(part: Any) -> str | None:
    if isinstance(part, str):
        return part
    if isinstance(part, dict):
        for name in ("text", "value", "thinking", "summary"):
            if isinstance(found := part.get(name), str):
                return found
    return None


def as_json(value: Any) -> str:
    """Return a value as JSON text."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return '"(nested too deep to be kept)"'
