"""Parse the messages of a chat completion: roles, texts, and other content.

Source: Together API, POST /v1/chat/completions.
"""

from dataclasses import dataclass
from typing import Any

from together_emulator.http.errors import bad_request
from together_emulator.http.fields import only, wrong
from together_emulator.inference.media import KINDS, read_media
from together_emulator.inference.text import token_count

_FIELDS = frozenset(
    {
        "role",
        "content",
        "name",
        "tool_calls",
        "tool_call_id",
        "function_call",
        "reasoning",
        "reasoning_content",
    }
)
_ROLES = ("system", "user", "assistant", "tool", "function")
_PARTS = ("text", *KINDS)
_TOKENS_PER_MESSAGE = 4
_TOKENS_PER_PROMPT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """The messages of a request.

    Attributes:
        text: All messages as one text, which has the URLs of other content.
        media: Kinds of content besides text: `image`, `video`, `audio`.
    """

    text: str
    tokens: int
    media: frozenset[str] = frozenset()


def read_messages(messages: Any) -> Prompt:
    """Read a list of messages (400)."""
    if not isinstance(messages, list) or not messages:
        raise wrong("messages", "a list that is not empty", messages)
    texts: list[str] = []
    media: set[str] = set()
    tokens = _TOKENS_PER_PROMPT
    for index, message in enumerate(messages):
        text, media_tokens = _read_message(index, message, media)
        texts.append(text)
        tokens += _TOKENS_PER_MESSAGE + media_tokens
    return Prompt(text="\n".join(texts), tokens=tokens, media=frozenset(media))


def _read_message(index: int, message: Any, media: set[str]) -> tuple[str, int]:
    """Return a message's text and tokens; add its other kinds of content to `media`."""
    where = f"messages[{index}]"
    if not isinstance(message, dict):
        raise wrong(where, "an object", message)
    if not message.keys() <= _FIELDS:
        only(message, _FIELDS, f"{where} field")
    role, content = message.get("role"), message.get("content")
    if role not in _ROLES:
        raise wrong(f"{where}.role", f"one of {', '.join(_ROLES)}", role)
    if isinstance(content, str):
        text = f"{role}: {content}"
        return text, token_count(text)
    if content is None and role == "assistant" and message.get("tool_calls"):
        text = f"{role}: {message['tool_calls']}"
        return text, token_count(text)
    if not isinstance(content, list) or not content:
        raise wrong(f"{where}.content", "a string or a list of parts", content)
    return _read_parts(role, content, where, media)


def _read_parts(role: str, content: list[Any], where: str, media: set[str]) -> tuple[str, int]:
    texts, others, tokens = [], [], 0
    for part in content:
        if not isinstance(part, dict) or part.get("type") not in _PARTS:
            raise wrong(f"{where}.content", f"parts of type {', '.join(_PARTS)}", part)
        if part["type"] == "text":
            if not isinstance(part.get("text"), str):
                raise wrong(f"{where}.content", "a text part with text", part)
            texts.append(part["text"])
        else:
            kind, cost, url = read_media(part, where)
            media.add(kind)
            others.append(url)
            tokens += cost
    text = f"{role}: {' '.join(texts)}"
    return "\0".join([text, *others]), tokens + token_count(text)


def require_inputs(media: frozenset[str], inputs: tuple[str, ...], model: str) -> None:
    """Reject (400) content that the model does not support."""
    for kind in sorted(media):
        if kind not in inputs:
            raise bad_request(
                f"model {model} reads {', '.join(inputs)} and takes no {kind} content",
                param="messages",
            )
