"""A reply becomes an answer: of a chat, of a completion, or of a batch of texts to embed."""

import base64
from array import array
from typing import Any

import orjson

from mayfly.models.failures import NO_TEXT, Failure
from mayfly.models.http_errors import error_message
from mayfly.models.rows import Answer

LONGEST_WORDS = 500
"""Characters of a server's words that are kept in a row's error."""

_SHAPE = (orjson.JSONDecodeError, LookupError, TypeError, AttributeError, ValueError)


class Unreadable(ValueError):
    """A 200 whose body is no answer: cut off, not JSON, or of another shape."""


def read_completion(row: int, body: memoryview, attempts: int, latency_s: float) -> Answer:
    """Read a chat completion.

    An answer without text (a refusal, a tool call) is an error of the row: the request itself
    went well.

    Raises:
        Unreadable: The body is no completion.

    Source: Together API, chat completions.
    """
    try:
        value = orjson.loads(body)
        choice = value["choices"][0]
        text = choice["message"].get("content")
        usage = _usage(value)
    except _SHAPE as error:
        raise Unreadable(f"{type(error).__name__}: {error}") from error
    return _answer(row, text, choice.get("finish_reason"), usage, attempts, latency_s)


def read_text(row: int, body: memoryview, attempts: int, latency_s: float) -> Answer:
    """Read a completion of plain text; as `read_completion`.

    Source: Together API, completions.
    """
    try:
        value = orjson.loads(body)
        choice = value["choices"][0]
        text = choice["text"]
        usage = _usage(value)
    except _SHAPE as error:
        raise Unreadable(f"{type(error).__name__}: {error}") from error
    return _answer(row, text, choice.get("finish_reason"), usage, attempts, latency_s)


def read_embeddings(row: int, body: memoryview, attempts: int, latency_s: float) -> Answer:
    """Read the vectors of all texts of a request, in the order of the texts, as one answer.

    Its response is what `vectors` takes apart.

    Raises:
        Unreadable: The body holds no vectors of one length.

    Source: Together API, embeddings.
    """
    try:
        value = orjson.loads(body)
        items = sorted(value["data"], key=lambda item: item["index"])
        numbers = array("f")
        for item in items:
            numbers.extend(item["embedding"])
        if [item["index"] for item in items] != list(range(len(items))):
            raise ValueError("vectors are missing")
        if {len(item["embedding"]) * len(items) for item in items} != {len(numbers)} or not numbers:
            raise ValueError("vectors differ in length")
        prompt, _, cached = _usage(value)
    except (*_SHAPE, OverflowError) as error:
        raise Unreadable(f"{type(error).__name__}: {error}") from error
    packed = f"{len(items)}:{base64.b64encode(numbers.tobytes()).decode()}"
    return Answer(row, packed, None, None, prompt, 0, cached, attempts, latency_s)


def vectors(packed: str) -> list[str]:
    """Return each vector of a request's answer: base64 of its little-endian 32-bit floats."""
    count, _, text = packed.partition(":")
    numbers = base64.b64decode(text)
    size = len(numbers) // int(count)
    return [
        base64.b64encode(numbers[start : start + size]).decode()
        for start in range(0, len(numbers), size)
    ]


def read_error(body: memoryview) -> tuple[str, str]:
    """Return an error body's code and words; of a body that is not JSON, its beginning."""
    try:
        value: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return "", short(bytes(body[: 4 * LONGEST_WORDS]).decode(errors="replace"))
    code, message = error_message(value)
    return code, short(message or str(value))


def short(text: str) -> str:
    """Return a text in one line, its end cut off where it is long."""
    text = " ".join(text.split())
    return text if len(text) <= LONGEST_WORDS else text[: LONGEST_WORDS - 1] + "…"


def _usage(value: Any) -> tuple[int, int, int]:
    """Return prompt, completion and cached tokens; the API has two places for the last."""
    usage = value.get("usage") or {}
    details = usage.get("prompt_tokens_details") or {}
    cached = usage.get("cached_tokens") or details.get("cached_tokens") or 0
    return usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0, cached


def _answer(
    row: int,
    text: Any,
    finish: str | None,
    usage: tuple[int, int, int],
    attempts: int,
    latency_s: float,
) -> Answer:
    error = None
    if not isinstance(text, str):
        failure = Failure(NO_TEXT, f"finish_reason {finish}", 200, attempts=attempts)
        text, error = None, str(failure)
    return Answer(row, text, error, finish, *usage, attempts, latency_s)
