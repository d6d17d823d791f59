"""Extract the texts of one choice of a reply: text, reasoning, refusal and tool calls."""

from contextlib import suppress
from typing import Any, NamedTuple

import orjson

REASONING = (
    "reasoning",
    "reasoning_content",
    "thinking",
    "reasoning_details",
    "thinking_blocks",
    "reasoning_text",
)
"""Fields of a message that hold its thinking, by the server: the first that has any is read."""

_THOUGHTS = (("<think>", "</think>"), ("<thinking>", "</thinking>"), ("[THINK]", "[/THINK]"))
"""Marks around the thinking of servers that do not separate it from the text."""

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
    {"content", "function_call", "logprobs", "name", "refusal", "role", "tool_calls", *REASONING}
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
    found = _said(choice, dropped)
    if found.text is not None and found.reasoning is None and "message" in choice:
        text, reasoning = without_thinking(found.text)
        if reasoning is not None:
            return found._replace(text=text, reasoning=reasoning)
    return found


def without_thinking(text: str) -> tuple[str | None, str | None]:
    """Return the text of an answer and the thinking before it, or None where there is none.

    The thinking begins the text, in marks; the opening one may be missing, because some chat
    templates end the prompt with it. Thinking that is not closed stays in the text, and so does a
    mark in the middle of a sentence, which is what the answer speaks of.
    """
    start = text.lstrip()
    for opening, closing in _THOUGHTS:
        if closing not in start:
            continue
        before, _, after = start.partition(closing)
        if before.startswith(opening):
            before = before.removeprefix(opening)
        elif opening in before or closing != "</think>" or _in_a_sentence(before, after):
            continue
        return after.strip() or None, before.strip() or None
    return text, None


def _in_a_sentence(before: str, after: str) -> bool:
    """Whether a closing mark neither begins nor ends a line, and no JSON or fence follows it."""
    begins_line = not before.rpartition("\n")[2].strip()
    return not begins_line and after.lstrip(" \t")[:1] not in ("", "\n", "\r", "{", "[", "`")


def is_cut_thinking(text: str) -> bool:
    """Whether a text is thinking that was truncated: it is opened and not closed."""
    start = text.lstrip()
    return any(start.startswith(a) and b not in start for a, b in _THOUGHTS)


def _said(choice: dict[str, Any], dropped: set[str]) -> Said:
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
        further = choice.keys() - _KNOWN_OF_CHOICE - {*REASONING}
        dropped.update(key for key in further if choice[key])
    content = message.get("content")
    if not content and choice.get("text"):
        content = choice["text"]
    is_text = content is None or type(content) is str
    found = Said(content) if is_text else _parts(content, dropped)
    calls = _tool_calls(message) or found.tool_calls
    if calls is None and (calls := _tool_calls(choice)) is not None:
        dropped -= {"tool_calls", "function_call"}
    return Said(
        found.text,
        found.reasoning or _reasoning(message) or _reasoning(choice),
        text_of(message.get("refusal")) or found.refusal,
        calls,
    )


def _reasoning(message: dict[str, Any]) -> str | None:
    for name in REASONING:
        if (given := message.get(name)) and (text := thinking_of(given)):
            return text
    return None


def thinking_of(given: Any) -> str | None:
    """Return thinking as text: a string, an object with its text, or a list of these."""
    if isinstance(given, list):
        return "".join(filter(None, map(thinking_of, given))) or None
    if isinstance(given, dict):
        for name in _THINKING_IN:
            if inner := given.get(name):
                return thinking_of(inner)
    return text_of(given)


_THINKING_IN = ("thinking", "reasoning", "text", "summary", "content", "reasoning_text", "data")
"""Fields of a part that hold its thinking; `data` if it is encrypted."""


def _tool_calls(message: dict[str, Any]) -> str | None:
    given = message.get("tool_calls")
    if isinstance(given, str) and given[:1] in ("[", "{"):  # JSON in a string.
        with suppress(orjson.JSONDecodeError):
            given = orjson.loads(given)
    if given:
        return as_json(given if type(given) is list else [given])
    if given := message.get("function_call"):  # The predecessor of tool calls.
        return as_json([{"type": "function", "function": given}])
    return None


def _parts(content: Any, dropped: set[str]) -> Said:
    """Return the texts of content that is not a string."""
    if not isinstance(content, list):
        return Said(text_of(content))
    found: dict[str, list[str]] = {"text": [], "reasoning": [], "refusal": []}
    calls = [part for part in content if _is_call(part)]
    for part in content:
        if _is_call(part):
            continue
        if isinstance(part, dict):
            _part(part, found, dropped)
        elif part is not None:
            found["text"].append(text_of(part) or "")
    text, reasoning, refusal = ("".join(texts) if texts else None for texts in found.values())
    return Said(text, reasoning, refusal, as_json(calls) if calls else None)


def _is_call(part: Any) -> bool:
    """Whether a part of content is a tool call, as in Anthropic's messages."""
    return isinstance(part, dict) and part.get("type") in ("tool_use", "tool_call", "function_call")


_THINKING_KINDS = ("thinking", "reasoning", "redacted_thinking")


def _part(part: dict[str, Any], found: dict[str, list[str]], dropped: set[str]) -> None:
    kind = part.get("type")
    if part.get("refusal"):
        found["refusal"].append(text_of(part["refusal"]) or "")
    elif (isinstance(kind, str) and kind.startswith(_THINKING_KINDS)) or part.get("thinking"):
        found["reasoning"].append(thinking_of(part) or "")
    elif "text" in part:
        found["text"].append(text_of(part["text"]) or "")
    elif kind == "text" and isinstance(part.get("content"), str):
        found["text"].append(part["content"])
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
