"""A reply becomes an answer."""

from typing import Any

import orjson

from tasks.core.failure import NO_TEXT, Failure
from tasks.core.rows import Answer

LONGEST_WORDS = 500
"""Characters of a server's words that are kept in a row's error."""


class Unreadable(ValueError):
    """A 200 whose body is no completion: cut off, not JSON, or of another shape."""


def read_completion(row: int, body: memoryview, attempts: int, latency_s: float) -> Answer:
    """Read a chat completion.

    Cached tokens are read from either place that the API uses. An answer without text (a refusal,
    a tool call) is an error of the row: the request itself went well.

    Raises:
        Unreadable: The body is no completion.

    Source: Together API, chat completions.
    """
    try:
        value = orjson.loads(body)
        choice = value["choices"][0]
        message = choice["message"]
        text = message.get("content")
        usage = value.get("usage") or {}
        details = usage.get("prompt_tokens_details") or {}
        prompt, completion = usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
        cached = usage.get("cached_tokens") or details.get("cached_tokens") or 0
    except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError) as error:
        raise Unreadable(f"{type(error).__name__}: {error}") from error
    finish = choice.get("finish_reason")
    wrong = None
    if not isinstance(text, str):
        failure = Failure(NO_TEXT, f"finish_reason {finish}", 200, attempts=attempts)
        text, wrong = None, str(failure)
    return Answer(
        row, text, wrong, finish, prompt or 0, completion or 0, cached, attempts, latency_s
    )


def read_error(body: memoryview) -> tuple[str, str]:
    """Return an error body's code and words; of a body that is not JSON, its beginning."""
    try:
        value: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return "", _short(bytes(body[: 4 * LONGEST_WORDS]).decode(errors="replace"))
    if isinstance(value, dict) and isinstance(value.get("error"), dict):
        value = value["error"]
    if isinstance(value, dict) and "message" in value:
        return str(value.get("code") or ""), _short(str(value["message"]))
    return "", _short(str(value))


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LONGEST_WORDS else text[: LONGEST_WORDS - 1] + "…"
