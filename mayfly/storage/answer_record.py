"""Serialise an answer as a JSON record for the journal, and parse records of any version.

A record is a list: the fields of `Answer` in order, without trailing nulls. Reading one yields an
answer that can be written to a part, even if an earlier version wrote the record, or it holds an
unexpected value of a server.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from msgspec import ValidationError
from msgspec.json import Decoder

from mayfly.models.failures import NO_TEXT, OTHER, Failure
from mayfly.models.rows import MAX_TOKENS, Answer, as_count
from mayfly.models.texts import without_surrogates

_SHORT = len(Answer._fields[: Answer._fields.index("reasoning")])
_USUAL_TYPES = [int, str, type(None), str, int, int, int, int, float]
_NOTHING_MORE = (None,) * (len(Answer._fields) - _SHORT)

_ANSWERS = Decoder(list[Answer])


def to_record(answer: Answer) -> bytes:
    """Return the record of an answer; values that JSON cannot represent are converted."""
    try:
        if answer.failure is None and answer[_SHORT:] == _NOTHING_MORE:  # Most answers.
            return orjson.dumps(answer[:_SHORT])
        return orjson.dumps(_values(answer))
    except TypeError:  # A lone surrogate, or an integer of more than 64 bits.
        return orjson.dumps(_values(made_fit(answer)))


def from_record(record: bytes) -> Answer:
    """Return the answer of a record; an unreadable one is an error of its row."""
    try:
        values = orjson.loads(record)
    except orjson.JSONDecodeError:
        values = None
    if not isinstance(values, list) or not values:
        row = row_of(record)
        return Answer(0 if row is None else row, None, Failure(OTHER, "the journal has no answer"))
    if _is_usual(values):
        return Answer(*values)
    known = len(Answer._fields)
    return made_fit(Answer(*values[:known], *(None,) * max(0, 2 - len(values))))


def from_own_records(records: Sequence[bytes]) -> list[Answer]:
    """Return the answers of records that this version has made of answers in the same run."""
    try:
        return _ANSWERS.decode(b"[%b]" % b",".join(records))
    except ValidationError:  # A value of a server that is not of the type of its column.
        return [from_record(record) for record in records]


def _is_usual(values: list[Any]) -> bool:
    """Whether a record needs no conversion, which most do not; `made_fit` is slow."""
    if [*map(type, values)] != _USUAL_TYPES:
        return False
    counts: list[int] = values[4:8]
    latency_s: float = values[8]
    return min(counts) >= 0 and max(counts) <= MAX_TOKENS and 0 <= latency_s < math.inf


def row_of(record: bytes) -> int | None:
    """Return the row of a record; None if it has none, like the journal's first line."""
    if not record.startswith(b"["):
        return None
    digits = record[1 : record.find(b",")]
    return int(digits) if digits.isdigit() and len(digits) < 19 else None


def made_fit(answer: Answer) -> Answer:
    """Return an answer in which every field has the type that a part needs."""
    response = _text(answer.response)
    tool_calls = _text(answer.tool_calls)
    failure = _failure(answer.failure)
    if response is None and failure is None and tool_calls is None:
        failure = Failure(NO_TEXT, "the journal has no text for this row")
    return Answer(
        row=answer.row,
        response=None if failure is not None else response,
        failure=failure,
        finish_reason=_text(answer.finish_reason),
        prompt_tokens=as_count(answer.prompt_tokens),
        completion_tokens=as_count(answer.completion_tokens),
        cached_tokens=as_count(answer.cached_tokens),
        attempts=as_count(answer.attempts) or 0,
        latency_s=_seconds(answer.latency_s),
        reasoning=_text(answer.reasoning),
        tool_calls=tool_calls,
        responses=_texts(answer.responses),
        logprobs=_logprobs(answer.logprobs),
        dropped=_text(answer.dropped),
    )


def _values(answer: Answer) -> tuple[Any, ...]:
    values = answer[:_SHORT] if answer[_SHORT:] == _NOTHING_MORE else tuple(answer)
    if answer.failure is None:
        return values
    return (*values[:2], tuple(answer.failure), *values[3:])


def _failure(given: object) -> Failure | None:
    """Return a failure; the first version of the journal stored its text."""
    if given is None:
        return None
    if isinstance(given, str):
        return Failure.parse(without_surrogates(given))
    if not isinstance(given, Sequence) or not 2 <= len(given) <= len(Failure._fields):
        return Failure(OTHER, _json(given))
    kind, message, status, code, attempts = Failure(*given)
    return Failure(
        _text(kind) or OTHER,
        _text(message) or "",
        as_count(status),
        _text(code) or "",
        as_count(attempts) or 0,
    )


def _text(given: object) -> str | None:
    if given is None:
        return None
    return without_surrogates(given) if isinstance(given, str) else _json(given)


def _texts(given: object) -> list[str | None] | None:
    return [_text(one) for one in given] if isinstance(given, list | tuple) else None


def _logprobs(given: object) -> list[dict[str, Any]] | None:
    if not isinstance(given, list | tuple):
        return None
    return [
        {
            "token": _text(one.get("token")),
            "token_id": as_count(one.get("token_id")),
            "logprob": _number(one.get("logprob")),
            "top_logprobs": _likeliest(one.get("top_logprobs")),
        }
        for one in given
        if isinstance(one, Mapping)
    ]


def _likeliest(given: object) -> list[dict[str, Any]] | None:
    if not isinstance(given, list | tuple):
        return None
    return [
        {"token": _text(one.get("token")), "logprob": _number(one.get("logprob"))}
        for one in given
        if isinstance(one, Mapping)
    ]


def _number(given: object) -> float | None:
    if isinstance(given, bool) or not isinstance(given, int | float):
        return None
    try:
        return float(given)
    except OverflowError:
        return None


def _seconds(given: object) -> float:
    number = _number(given)
    return number if number is not None and 0 <= number < float("inf") else 0.0


def _json(value: object) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return without_surrogates(str(value))
