"""Assemble a reply that a server streamed although streaming was not requested.

Source: Together API, streaming; the HTML standard, server-sent events.
"""

import json
from collections.abc import Iterator
from typing import Any

_GROWING = ("content", "reasoning", "reasoning_content", "thinking", "refusal", "text")
"""Text fields that arrive in pieces."""


def is_event_stream(text: str) -> bool:
    """Whether a text is server-sent events, possibly after keep-alive comments."""
    return text.startswith(("data:", "event:", "id:", ":"))


def assembled(text: str) -> Any:
    """Return the reply assembled from events; the value itself if there were only comments.

    Raises:
        ValueError: No event holds JSON.
    """
    lines = [line for line in text.splitlines() if not line.startswith((":", "event:", "id:"))]
    if not any(line.startswith("data:") for line in lines):
        return json.loads("\n".join(lines), strict=False)
    events = [*_events(lines)]
    if not events:
        raise ValueError("no event holds JSON")
    whole: dict[str, Any] = {}
    choices: dict[Any, dict[str, Any]] = {}
    for event in events:
        for name, value in event.items():
            if name != "choices":
                whole[name] = whole.get(name) if value is None else value
                continue
            for choice in value if isinstance(value, list) else []:
                if isinstance(choice, dict):
                    _add(choices.setdefault(repr(choice.get("index")), {}), choice)
    return whole | {"choices": [*choices.values()]}


def _events(lines: list[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        data = line.removeprefix("data:").strip()
        if not line.startswith("data:") or data in ("", "[DONE]"):
            continue
        try:
            event = json.loads(data, strict=False)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict):
            yield event


def _add(choice: dict[str, Any], piece: dict[str, Any]) -> None:
    """Append a piece to a choice."""
    for name, value in piece.items():
        if name == "delta" and isinstance(value, dict):
            message = choice.setdefault("message", {})
            if isinstance(message, dict):
                _grow(message, value)
        elif name in _GROWING and isinstance(value, str):
            choice[name] = (choice.get(name) or "") + value
        elif value is not None:
            choice[name] = value


def _grow(message: dict[str, Any], piece: dict[str, Any]) -> None:
    for name, value in piece.items():
        before = message.get(name)
        if name in _GROWING and isinstance(value, str) and isinstance(before, str):
            message[name] = before + value
        elif name == "tool_calls" and isinstance(value, list) and isinstance(before, list):
            for call in value:
                _add_call(before, call)
        elif value is not None or name not in message:
            message[name] = value


def _add_call(calls: list[Any], piece: Any) -> None:
    """Append a piece to a tool call: arguments arrive in pieces, the rest with the first one."""
    index = piece.get("index") if isinstance(piece, dict) else None
    known = next(
        (call for call in calls if isinstance(call, dict) and call.get("index") == index), None
    )
    if index is None or known is None:
        calls.append(piece)
        return
    more, function = piece.get("function"), known.get("function")
    if isinstance(more, dict) and isinstance(function, dict):
        text = more.get("arguments")
        if isinstance(text, str):
            function["arguments"] = f"{function.get('arguments') or ''}{text}"
