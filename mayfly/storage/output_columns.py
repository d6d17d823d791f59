"""The column that some jobs have beside the contract's: `parsed` or `embedding`."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import orjson
import pyarrow as pa

from mayfly.models.job import PromptSpec, Sampling
from mayfly.storage.arrow_types import arrow_type


class ExtraColumn(Protocol):
    """A column that is made of the answers' texts.

    Attributes:
        field: Its name and type.
        instead: Whether it stands for the text, so that `response` holds nothing.
    """

    field: pa.Field
    instead: bool

    def array(self, responses: Sequence[str | None]) -> pa.Array:
        """Return the column for some consecutive rows."""

    def texts(self, column: pa.Array) -> list[str | None]:
        """Return the texts that a column which stands for them was made of."""


class Parsed:
    """Answers that fit a JSON Schema, as columns of its types."""

    instead = False

    def __init__(self, schema: Mapping[str, Any]) -> None:
        kind, self._convert = arrow_type(schema)
        self.field = pa.field("parsed", kind)

    def array(self, responses: Sequence[str | None]) -> pa.Array:
        convert, loads = self._convert, orjson.loads
        values = [None if text is None else convert(loads(text)) for text in responses]
        return pa.array(values, self.field.type)

    def texts(self, column: pa.Array) -> list[str | None]:
        raise NotImplementedError("`response` has the texts")


class Embedding:
    """Vectors, whose text on the way here is base64 of their little-endian 32-bit floats."""

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


def extra_column(prompt: PromptSpec, sampling: Sampling) -> ExtraColumn | None:
    """Return the column that a job adds to the contract's, if any."""
    if prompt.embed_column is not None:
        return Embedding()
    if (schema := sampling.schema_value()) is not None:
        return Parsed(schema)
    return None
