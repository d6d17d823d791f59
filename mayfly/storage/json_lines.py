"""Read JSON lines as Arrow batches, without losing values of columns with mixed types.

A column with values of a single Arrow type has that type. A column with mixed types is JSON text,
marked so that reading returns the original values.
"""

import codecs
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import orjson
import pyarrow as pa

from mayfly.models.batch_lines import BatchLines
from mayfly.models.errors import BadRequest
from mayfly.storage.unified_types import JSON_MARK

READ_BYTES = 2**20
SOME = 10
"""Maximum models and URLs kept; an input with two is rejected anyway."""

MAX_FIELDS = 200
"""An object with more names than this within a block of lines is kept as JSON text."""

_UNTYPED = (
    pa.ArrowInvalid,
    pa.ArrowTypeError,
    pa.ArrowNotImplementedError,
    OverflowError,
    UnicodeEncodeError,
)


@dataclass(slots=True)
class BatchRequests:
    """Detects OpenAI-batch requests, and collects their common properties.

    Attributes:
        found: Whether the lines are requests: `custom_id` and `body`.
    """

    found: bool | None = None
    _models: dict[str, None] = field(default_factory=dict)
    _urls: dict[str, None] = field(default_factory=dict)
    _samples: int = 1
    _logprobs: bool = False

    @property
    def lines(self) -> BatchLines | None:
        """Properties of the requests; None if the lines are not requests."""
        if not self.found:
            return None
        return BatchLines(tuple(self._models), tuple(self._urls), self._samples, self._logprobs)

    def note(self, lines: Sequence[dict[str, Any]], shown: str, first: int) -> None:
        """Add lines.

        Raises:
            BadRequest: A line is not a request, unlike the first line of the file.
        """
        if self.found is None:
            self.found = _is_request(lines[0])
        if not self.found:
            return
        for number, line in enumerate(lines, first):
            if not _is_request(line):
                raise BadRequest(
                    f"input {shown}, line {number}: no custom_id with a body, which the first "
                    "line has; give only requests"
                )
            body = line["body"]
            if len(self._models) < SOME and (model := body.get("model")) is not None:
                self._models[str(model)] = None
            if len(self._urls) < SOME and (url := line.get("url")) is not None:
                self._urls[str(url)] = None
            if type(samples := body.get("n")) is int:
                self._samples = max(self._samples, samples)
            # In the completions API 0 requests the logprobs of the tokens themselves.
            self._logprobs |= body.get("logprobs") not in (None, False)


def json_batches(stream: BinaryIO, shown: str, requests: BatchRequests) -> Iterator[pa.RecordBatch]:
    """Yield the lines of a file, about a MiB at a time.

    Args:
        shown: Name of the file in errors.
        requests: Receives the lines, to detect OpenAI-batch requests.

    Raises:
        BadRequest: A line is not a JSON object; the message has its number.
    """
    number = 1
    for block in _blocks(stream):
        values = []
        first = number
        exact = has_large_integer(pa.array([block], pa.large_binary()))
        for line in block.split(b"\n"):
            if line and not line.isspace():
                values.append(_object(line, shown, number, exact=exact))
            number += 1
        if values:
            requests.note(values, shown, first)
            yield _batch(values, requests=bool(requests.found))


def _is_request(line: dict[str, Any]) -> bool:
    return line.get("custom_id") is not None and isinstance(line.get("body"), dict)


def _blocks(stream: BinaryIO) -> Iterator[bytes]:
    rest: list[bytes] = []
    first = True
    while data := stream.read(READ_BYTES):
        if first:
            data, first = data.removeprefix(b"\xef\xbb\xbf"), False
        end = data.rfind(b"\n")
        if end < 0:
            rest.append(data)
            continue
        yield b"".join([*rest, data[:end]])
        rest = [data[end + 1 :]]
    if last := b"".join(rest):
        yield last


def has_large_integer(column: pa.Array) -> bool:
    """Whether texts may hold an integer beyond 64 bits, which orjson converts to a float."""
    import pyarrow.compute as pc  # noqa: PLC0415 - slow to load, and seldom needed

    return bool(pc.any(pc.match_substring_regex(column, "[0-9]{19}")).as_py())


def read_json(text: bytes | str, *, exact: bool) -> Any:
    """Return a JSON value.

    Args:
        exact: Keep integers of any size, which is slower; see `has_large_integer`.

    Raises:
        ValueError: It is not JSON.
    """
    return json.loads(text) if exact else orjson.loads(text)


_KINDS = {b"PAR1": "Parquet", b"ARROW1": "Arrow IPC", b"PK\x03\x04": "a ZIP archive"}


def other_format(start: bytes) -> str | None:
    """Return what a file is that is not the text its name says, and what to do; else None."""
    if start.startswith(b"\x1f\x8b"):
        return "compressed by gzip; add .gz to its name"
    if start.startswith(b"\x28\xb5\x2f\xfd"):
        return "compressed by Zstandard; add .zst to its name"
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in start[1:2]:
        return "UTF-16; save it as UTF-8"
    if start.startswith(tuple(_KINDS)):
        kind = next(name for begins, name in _KINDS.items() if start.startswith(begins))
        return f"{kind} by its first bytes; give it the name of its kind, or unpack it"
    if start.lstrip()[:1] == b"[" or start.strip() == b"{":
        return "JSON, but not JSON lines; write each object on a line of its own (jq -c)"
    return None


def _object(line: bytes, shown: str, number: int, *, exact: bool) -> dict[str, Any]:
    try:
        value = read_json(line, exact=exact)
    except ValueError:
        # NaN, lone surrogates and invalid UTF-8 are kept; their row gets an error later.
        try:
            value = json.loads(line.decode("utf-8", "surrogateescape"))
        except RecursionError:
            raise BadRequest(
                f"input {shown}, line {number} is nested too deep; repair it or leave it out"
            ) from None
        except ValueError as error:
            if number == 1 and (advice := other_format(line)) is not None:
                raise BadRequest(f"input {shown} is {advice}") from None
            raise BadRequest(
                f"input {shown}, line {number} is not JSON: {error}; repair it or leave it out"
            ) from None
    if not isinstance(value, dict):
        what = "an array" if isinstance(value, list) else "not an object"
        raise BadRequest(
            f"input {shown}, line {number} is {what}; give JSON lines with one object each"
        )
    return value


def _batch(lines: Sequence[dict[str, Any]], *, requests: bool) -> pa.RecordBatch:
    names = dict.fromkeys(name for shape in dict.fromkeys(map(tuple, lines)) for name in shape)
    arrays, fields = [], []
    for name in names:
        values = [line.get(name) for line in lines]
        array, is_json = _column(values, force_json=requests and name == "body")
        arrays.append(array)
        fields.append(pa.field(_text(name), array.type, metadata=JSON_MARK if is_json else None))
    if not names:  # Empty objects are rows as well.
        arrays, fields = [pa.nulls(len(lines))], [pa.field("value", pa.null())]
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def _column(values: list[Any], *, force_json: bool = False) -> tuple[pa.Array, bool]:
    """Return a column, and whether it is JSON text because its values have mixed types."""
    if not force_json:
        try:
            array = pa.array(values)
        except _UNTYPED:
            if all(value is None or type(value) is str for value in values):
                raw = [None if value is None else _bytes(value) for value in values]
                return pa.array(raw, pa.binary()).view(pa.string()), False
        else:
            if _keeps(array.type):
                return array, False
    texts = [None if value is None else _json(value) for value in values]
    return pa.array(texts, pa.string()), True


def _keeps(kind: pa.DataType) -> bool:
    """Whether Parquet can store a type, and the schema should have it."""
    if pa.types.is_struct(kind):
        return 0 < kind.num_fields <= MAX_FIELDS and all(_keeps(f.type) for f in kind)
    return _keeps(kind.value_type) if pa.types.is_list(kind) else True


def _json(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return json.dumps(value)


def _bytes(text: str) -> bytes:
    for errors in ("strict", "surrogateescape"):
        try:
            return text.encode("utf-8", errors)
        except UnicodeEncodeError:
            pass
    return text.encode("utf-8", "surrogatepass")


def _text(name: str) -> str:
    return name.encode("utf-8", "replace").decode()
