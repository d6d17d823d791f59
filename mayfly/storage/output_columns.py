"""The output columns of a job: conversion from answers to columns and back."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, Protocol

import pyarrow as pa

from mayfly.models.failures import Failure
from mayfly.models.job import PromptSpec, Sampling
from mayfly.models.json_schema import SchemaChecker
from mayfly.models.rows import Answer
from mayfly.storage.answer_record import made_fit
from mayfly.storage.arrow_types import arrow_type

OUTPUT = pa.schema(
    [
        pa.field("response", pa.string()),
        pa.field("error", pa.string()),
        pa.field("finish_reason", pa.string()),
        pa.field("prompt_tokens", pa.int64()),
        pa.field("completion_tokens", pa.int64()),
        pa.field("cached_tokens", pa.int64()),
        pa.field("attempts", pa.int32()),
        pa.field("latency_s", pa.float64()),
    ]
)
"""The columns that every output has."""

CHAT_ONLY = pa.schema([pa.field("reasoning", pa.string()), pa.field("tool_calls", pa.string())])

_TOP = pa.list_(pa.struct([("token", pa.string()), ("logprob", pa.float64())]))
_LOGPROBS = pa.list_(
    pa.struct(
        [
            ("token", pa.string()),
            ("token_id", pa.int64()),
            ("logprob", pa.float64()),
            ("top_logprobs", _TOP),
        ]
    )
)
_FURTHER = {
    "responses": pa.field("responses", pa.list_(pa.string())),
    "logprobs": pa.field("logprobs", _LOGPROBS),
}


class FromText(Protocol):
    """A column that is derived from the answers' texts.

    Attributes:
        field: Its name and type.
        instead: Whether it replaces the text, so that `response` is null.
    """

    field: pa.Field
    instead: bool

    def array(self, responses: Sequence[str | None]) -> pa.Array:
        """Return the column for consecutive rows."""

    def texts(self, column: pa.Array) -> list[str | None]:
        """Return the texts from a column that replaces them."""


class Parsed:
    """The `parsed` column: answers converted by a JSON Schema."""

    instead = False

    def __init__(self, schema: Mapping[str, Any]) -> None:
        kind, self._convert = arrow_type(schema)
        self._checker = SchemaChecker(schema)
        self.field = pa.field("parsed", kind)

    def array(self, responses: Sequence[str | None]) -> pa.Array:
        convert, read = self._convert, self._checker.read
        values = [None if text is None else convert(read(text).value) for text in responses]
        try:
            return pa.array(values, self.field.type)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            # Values that do not fit become null; the text is kept.
            kind = self.field.type
            return pa.array([value if _fits(value, kind) else None for value in values], kind)

    def texts(self, column: pa.Array) -> list[str | None]:
        raise NotImplementedError("`response` has the texts")


def _fits(value: Any, kind: pa.DataType) -> bool:
    try:
        pa.array([value], kind)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return False
    return True


class Embedding:
    """The `embedding` column, from base64 of little-endian 32-bit floats."""

    instead = True

    def __init__(self) -> None:
        self.field = pa.field("embedding", pa.list_(pa.float32()))

    def array(self, responses: Sequence[str | None]) -> pa.Array:
        vectors = [None if text is None else base64.b64decode(text) for text in responses]
        offsets, at = [], 0
        for vector in vectors:
            offsets.append(at)
            at += len(vector or b"") // 4
        values = pa.Array.from_buffers(
            pa.float32(), at, [None, pa.py_buffer(b"".join(v for v in vectors if v is not None))]
        )
        return pa.ListArray.from_arrays(
            pa.array([*offsets, at], pa.int32()),
            values,
            type=self.field.type,
            mask=pa.array([vector is None for vector in vectors], pa.bool_()),
        )

    def texts(self, column: pa.Array) -> list[str | None]:
        return [
            None
            if not vector.is_valid
            else base64.b64encode(vector.values.to_numpy(zero_copy_only=False).tobytes()).decode()
            for vector in column
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputColumns:
    """The columns of one job's output, in order.

    Attributes:
        plain: Columns that are fields of `Answer` of the same name.
        from_text: The column that is derived from the texts, if the job has one.
    """

    plain: tuple[pa.Field, ...]
    from_text: FromText | None = None

    @property
    def fields(self) -> tuple[pa.Field, ...]:
        """Names and types."""
        return self.plain if self.from_text is None else (*self.plain, self.from_text.field)

    @property
    def unlike(self) -> frozenset[str]:
        """Columns with few repeated values, for which dictionaries and statistics are useless."""
        return frozenset(
            field.name
            for field in self.fields
            if field.name in ("response", "latency_s", "reasoning", "tool_calls")
            or pa.types.is_nested(field.type)
            or (self.from_text is not None and field is self.from_text.field)
        )

    def arrays(self, answers: Sequence[Answer]) -> list[pa.Array]:
        """Return the columns of consecutive rows, at least one."""
        try:
            return self._arrays(answers)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            return self._arrays([made_fit(answer) for answer in answers])

    def _arrays(self, answers: Sequence[Answer]) -> list[pa.Array]:
        by_name = dict(zip(Answer._fields, zip(*answers, strict=True), strict=True))
        failures = by_name["failure"]
        by_name["error"] = failures
        if any(failures):
            by_name["error"] = [None if failure is None else str(failure) for failure in failures]
        arrays = [_array(by_name[field.name], field.type) for field in self.plain]
        if self.from_text is not None:
            arrays.append(self.from_text.array(by_name["response"]))
            if self.from_text.instead:
                arrays[0] = pa.nulls(len(answers), self.plain[0].type)
        return arrays

    def stored(self, names: Sequence[str]) -> list[str]:
        """Return the columns of a part that `answers` reads; earlier versions wrote fewer."""
        wanted = [field.name for field in self.plain]
        if self.from_text is not None and self.from_text.instead:
            wanted.append(self.from_text.field.name)
        return [name for name in wanted if name in names]

    def answers(self, batch: pa.RecordBatch, first_row: int) -> Iterator[Answer]:
        """Yield the answers from a batch of a part's rows."""
        columns: dict[str, Any] = {
            name: batch.column(name).to_pylist()
            for name in batch.schema.names
            if name in Answer._fields or name == "error"
        }
        if (made := self.from_text) is not None and made.instead:
            columns["response"] = made.texts(batch.column(made.field.name))
        columns["failure"] = [
            None if text is None else Failure.parse(text) for text in columns.pop("error")
        ]
        columns["row"] = range(first_row, first_row + batch.num_rows)
        in_order = [columns.get(name, repeat(None)) for name in Answer._fields]
        return (Answer._make(values) for values in zip(*in_order, strict=False))


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Return values, at least one, as an array; fast if all are null."""
    if values[0] is None and values.count(None) == len(values):
        return pa.nulls(len(values), kind)
    return pa.array(values, kind)


CHAT = OutputColumns(plain=(*OUTPUT, *CHAT_ONLY))
"""The columns of a chat without further options."""


def output_columns(prompt: PromptSpec, sampling: Sampling) -> OutputColumns:
    """Return the columns that a job's output has in addition to the input's."""
    if prompt.embed_column is not None:
        return OutputColumns(plain=(*OUTPUT,), from_text=Embedding())
    plain = [*OUTPUT, *([] if prompt.completions else CHAT_ONLY)]
    plain += [_FURTHER[name] for name in _asked(sampling)]
    schema = sampling.schema_value()
    return OutputColumns(plain=tuple(plain), from_text=None if schema is None else Parsed(schema))


def _asked(sampling: Sampling) -> list[str]:
    asked = {"responses": sampling.samples, "logprobs": sampling.logprobs}
    return [name for name, given in asked.items() if given is not None]
