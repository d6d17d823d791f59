"""Parse a reply into an answer: of a chat, of a completion, or of a batch of embeddings.

Any body of a 200 becomes one `Answer` of typed values, or the `ServerError` in the body. A field of
an unexpected type is converted, kept as JSON, or null; text that was paid for is kept.

Source: Together API, chat completions, completions and embeddings.
"""

import base64
import math
from array import array
from collections import Counter
from typing import Any, Final, NamedTuple

import orjson

from mayfly.inference.choice_text import Said, as_json, is_cut_thinking, said, text_of
from mayfly.inference.plain_chat import read_plain_chat
from mayfly.inference.reply_body import NOT_JSON, loads, unreadable
from mayfly.inference.server_error import (
    MAX_MESSAGE_CHARS,
    ServerError,
    error_in,
    read_error,
    short,
)
from mayfly.inference.token_logprobs import token_logprobs
from mayfly.models.failures import (
    CUT_THINKING,
    FILTERED,
    NO_TEXT,
    REFUSAL,
    UNREADABLE,
    Failure,
)
from mayfly.models.rows import MAX_TOKENS, Answer, as_count

__all__ = ["MAX_MESSAGE_CHARS", "ServerError", "read_embeddings", "read_error", "short"]

Read = Answer | ServerError

RESPONSES: Final = "responses"
LOGPROBS: Final = "logprobs"
"""Kept if the job has a column for it, otherwise counted as dropped."""

NO_COLUMNS: frozenset[str] = frozenset()

_KNOWN = frozenset(
    {
        "choices",
        "created",
        "data",
        "id",
        "model",
        "object",
        "prompt",
        "service_tier",
        "system_fingerprint",
        "usage",
    }
)


def read_completion(
    row: int,
    body: bytes,
    attempts: int,
    latency_s: float,
    *,
    keeps: frozenset[str] = NO_COLUMNS,
) -> Read:
    """Read the body of a 200 to a chat completion.

    Args:
        keeps: `RESPONSES`, `LOGPROBS`: the optional columns of the job.
    """
    if not keeps and (answer := read_plain_chat(row, body, attempts, latency_s)) is not None:
        return answer
    return _completion(row, _parse(body), attempts, latency_s, is_chat=True, keeps=keeps)


def read_text(
    row: int,
    body: bytes,
    attempts: int,
    latency_s: float,
    *,
    keeps: frozenset[str] = NO_COLUMNS,
) -> Read:
    """Read the body of a 200 to a plain-text completion; see `read_completion`."""
    return _completion(row, _parse(body), attempts, latency_s, is_chat=False, keeps=keeps)


def read_embeddings(row: int, body: bytes, attempts: int, latency_s: float) -> Read:
    """Read the vectors of all texts of a request, in order, as one answer.

    Its `responses` has one item per text: base64 of little-endian 32-bit floats, or None if the
    server's item is not a vector.
    """
    return _embeddings(row, _parse(body), attempts, latency_s)


class _NotJson(NamedTuple):
    """A body that is not JSON.

    Attributes:
        is_object: Whether it is an object all the same, which our parser cannot take.
    """

    beginning: str
    is_object: bool


def _parse(body: bytes) -> Any:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        value = loads(body)
    if type(value) is dict:
        return value if value.keys() & _REPLY else _inside(value)
    if value is NOT_JSON:
        return _NotJson(*unreadable(body))
    return _unwrapped(value)


def _unwrapped(value: Any) -> Any:
    """Return the reply in a list of one, or in a string of JSON."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        inner = loads(value.encode(errors="replace"))
    else:
        inner = value[0] if isinstance(value, list) and len(value) == 1 else None
    return inner if isinstance(inner, dict) and inner.keys() & _REPLY else value


_REPLY = frozenset({"choices", "data", "error"})


def _inside(value: dict[str, Any]) -> Any:
    """Return the reply that a gateway has put into an object of its own, or the value."""
    for name in ("response", "result", "body", "output"):
        inner = value.get(name)
        if isinstance(inner, dict) and "choices" in inner:
            return inner
    return value


def _failed(row: int, failure: Failure, attempts: int, latency_s: float) -> Answer:
    failure = failure._replace(attempts=attempts)
    return Answer(row, None, failure, attempts=attempts, latency_s=latency_s)


def _completion(
    row: int, value: Any, attempts: int, latency_s: float, *, is_chat: bool, keeps: frozenset[str]
) -> Read:
    if not (choices := _choices(value)):
        return _no_choices(row, value, attempts, latency_s)
    dropped: set[str] = set()
    choice = choices[0] if len(choices) == 1 else _chosen(choices, keeps, dropped)
    if type(choice) is not dict:
        choice = {"text": choice}
    found = said(choice, dropped)
    finish = choice.get("finish_reason")
    if finish is not None and type(finish) is not str:
        finish = as_json(finish)
    prompt, completion, cached = _usage(value.get("usage"))
    failure = None
    if not found.text or (is_chat and _is_no_answer(found.text, finish)):
        found = _moved(found)
        if found.tool_calls is None:
            if choice.get("error") and (error := error_in(choice)) is not None:
                return error
            failure = _without_text(finish, found, completion, attempts, is_chat=is_chat)
    if value.get("prompt") or not value.keys() <= _KNOWN:
        dropped.update(key for key in (value.keys() - _KNOWN) | {"prompt"} if value.get(key))
    logprobs = responses = None
    if given := choice.get("logprobs") or _within_message(choice):
        logprobs = _kept_logprobs(given, keeps, dropped)
    if RESPONSES in keeps and failure is None:
        responses = _samples(choices, choice, dropped)
    return Answer(
        row,
        found.text,
        failure,
        finish,
        prompt,
        completion,
        cached,
        attempts,
        latency_s,
        found.reasoning,
        found.tool_calls,
        responses,
        logprobs,
        ",".join(sorted(dropped)) if dropped else None,
    )


def _choices(value: Any) -> list[Any]:
    """Return the choices of a reply; a single one may be without a list."""
    choices = value.get("choices") if type(value) is dict else None
    if type(choices) is list:
        return choices
    return [choices] if choices and type(choices) in (dict, str) else []


def _chosen(choices: list[Any], keeps: frozenset[str], dropped: set[str]) -> Any:
    """Sort the samples by index; return the first one with content."""
    choices.sort(key=_index)
    if RESPONSES not in keeps:
        dropped.add("further choices")
    return next((one for one in choices if _has_text(one)), choices[0])


def _samples(choices: list[Any], chosen: Any, dropped: set[str]) -> list[str | None]:
    """Return the text of each sample; only the chosen one has its other fields kept."""
    texts = []
    for one in choices:
        found = said(one, dropped)
        texts.append(found.text or None)
        if one is not chosen:
            if found.tool_calls:
                dropped.add("tool_calls of further samples")
            if found.reasoning:
                dropped.add("reasoning of further samples")
    return texts


def _within_message(choice: dict[str, Any]) -> Any:
    """Return the log-probabilities of servers that have them in the message."""
    message = choice.get("message")
    return message.get("logprobs") if type(message) is dict else None


def _kept_logprobs(
    given: Any, keeps: frozenset[str], dropped: set[str]
) -> list[dict[str, Any]] | None:
    if LOGPROBS in keeps:
        return token_logprobs(given)
    dropped.add(LOGPROBS)
    return None


def _moved(found: Said) -> Said:
    """Return the texts without `text`, which is white space or belongs to the reasoning."""
    if found.text and found.text.strip():
        return found._replace(text=None, reasoning=f"{found.reasoning or ''}{found.text}")
    return found._replace(text=None)


def _no_choices(row: int, value: Any, attempts: int, latency_s: float) -> Read:
    """Return the result of a 200 without choices.

    A body with an error is that error. Any other object is an answer without text, and is not
    retried; a body that is not an object is unreadable.
    """
    if not isinstance(value, dict):
        return _failed(row, _unreadable(value), attempts, latency_s)
    if (found := error_in(value)) is not None:
        return found
    prompt, completion, cached = _usage(value.get("usage"))
    message = "empty: the reply has no choices"
    if value:
        message = short(f"{message}: {as_json(value)}")
    failure = Failure(NO_TEXT, message, 200, attempts=attempts)
    return Answer(row, None, failure, None, prompt, completion, cached, attempts, latency_s)


def _unreadable(value: Any) -> Failure:
    if isinstance(value, _NotJson):
        begins = f": {value.beginning}" if value.beginning else ""
        if value.is_object:
            return Failure(NO_TEXT, short(f"the reply is not valid JSON{begins}"), 200)
        return Failure(UNREADABLE, short(f"the reply is not JSON{begins}"), 200)
    what = f"not a JSON object but {text_of(value) or as_json(value)}"
    # A list of objects is a whole reply of another API: the next one would be no better.
    is_reply = isinstance(value, list) and any(isinstance(one, dict) for one in value)
    return Failure(NO_TEXT if is_reply else UNREADABLE, short(f"the reply is {what}"), 200)


def _has_text(choice: Any) -> bool:
    found = said(choice, set())
    return bool(found.text) or found.tool_calls is not None


def _index(choice: Any) -> int:
    """Return a choice's index among the samples; one without an index comes last."""
    index = as_count(choice.get("index")) if isinstance(choice, dict) else None
    return 2**31 if index is None else index


def _is_no_answer(text: str, finish: str | None) -> bool:
    """Whether a chat's text is white space, or thinking truncated by `max_tokens`.

    The latter comes from a server that does not separate the thinking.
    """
    return not text.strip() or (finish in _CUT and is_cut_thinking(text))


_CUT = frozenset({"length", "max_tokens", "MAX_TOKENS", "max_output_tokens", "model_length"})
_FILTERED = frozenset(
    {"content_filter", "content_filtered", "safety", "SAFETY", "PROHIBITED_CONTENT", "blocked"}
)
"""Finish reasons of the API and of other servers."""


def _without_text(
    finish: str | None, found: Said, completion_tokens: int | None, attempts: int, *, is_chat: bool
) -> Failure:
    """Return why an answer has neither text nor tool calls."""
    if found.refusal:
        kind, message = REFUSAL, f"the model refused: {found.refusal}"
    elif finish == "refusal":
        kind, message = REFUSAL, "the model refused, and gave no reason"
    elif finish in _FILTERED:
        kind, message = FILTERED, "filtered: the content filter withheld the answer"
    elif finish in _CUT and is_chat:
        used = "" if completion_tokens is None else f" after {completion_tokens} tokens"
        kind = CUT_THINKING
        message = (
            f"cut while thinking{used}, before an answer (finish_reason {finish}); raise "
            "--max-tokens, or give --reasoning off"
        )
    else:
        only = "only thinking, and " if found.reasoning else ""
        kind, message = NO_TEXT, f"empty: the answer has {only}no text (finish_reason {finish})"
    return Failure(kind, short(message), 200, attempts=attempts)


def _usage(usage: Any) -> tuple[int | None, int | None, int | None]:
    """Return prompt, completion and cached tokens; the last is in one of two fields."""
    if type(usage) is not dict:
        return None, None, None
    cached = usage.get("cached_tokens")
    if cached is None and type(details := usage.get("prompt_tokens_details")) is dict:
        cached = details.get("cached_tokens")
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if (
        type(prompt) is type(completion) is int
        and 0 <= prompt <= MAX_TOKENS
        and 0 <= completion <= MAX_TOKENS
    ):
        return prompt, completion, None if cached is None else as_count(cached)
    return as_count(prompt), as_count(completion), as_count(cached)


# Embeddings.


def _embeddings(row: int, value: Any, attempts: int, latency_s: float) -> Read:
    data = value.get("data") if isinstance(value, dict) else None
    if not isinstance(data, list):
        if isinstance(value, dict) and (found := error_in(value)) is not None:
            return found
        failure = _unreadable(value)
        if isinstance(value, dict):
            failure = Failure(UNREADABLE, "the reply has no vectors", 200)
        return _failed(row, failure, attempts, latency_s)
    vectors = [_vector(item) for item in _in_order(data)]
    # A vector of another length than most is not from this model.
    lengths = Counter(len(vector) for vector in vectors if vector is not None)
    usual = max(lengths, key=lengths.__getitem__, default=0)
    if 2 * lengths[usual] <= lengths.total():
        usual = 0
    packed = [vector if vector and len(vector) == usual else None for vector in vectors]
    prompt, _, cached = _usage(value.get("usage"))
    further = sorted(key for key in value.keys() - _KNOWN if value[key])
    return Answer(
        row,
        "",
        prompt_tokens=prompt,
        cached_tokens=cached,
        attempts=attempts,
        latency_s=latency_s,
        responses=packed,
        dropped=",".join(further) or None,
    )


def _in_order(data: list[Any]) -> list[Any]:
    """Return the items by index; unchanged if the indexes are not a permutation."""
    indexes = [as_count(item.get("index")) if isinstance(item, dict) else None for item in data]
    known = [index for index in indexes if index is not None]
    if sorted(known) != [*range(len(data))]:
        return data
    return [item for _, item in sorted(zip(known, data, strict=True), key=lambda pair: pair[0])]


def _vector(item: Any) -> str | None:
    """Return a vector as base64 of little-endian 32-bit floats; None if it is not one."""
    given: Any = item.get("embedding") if isinstance(item, dict) else item
    try:
        if isinstance(given, str):  # encoding_format base64
            numbers = array("f", base64.b64decode(given, validate=True))
        else:
            numbers = array("f", given)
        usable = len(numbers) > 0 and math.isfinite(sum(numbers))
    except (TypeError, ValueError, OverflowError):
        return None
    return base64.b64encode(numbers.tobytes()).decode() if usable else None
