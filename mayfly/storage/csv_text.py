"""CSV as Arrow batches: text as it is written, and integers only where every value is one.

Guessed types change what a file says: `007` would be 7, `1.50` 1.5, `NA` nothing. An empty field
is null, a quoted empty one is empty text.
"""

import csv
import io
from collections.abc import Iterator
from typing import BinaryIO

import pyarrow as pa
import pyarrow.csv as pv

from mayfly.models.errors import BadRequest

BLOCK_BYTES = 4 * 2**20
HEADER_BYTES = 2**20
DELIMITERS = (",", ";", "\t", "|")

_INTEGER = r"^(0|-?[1-9][0-9]{0,17})$"
"""Integers as int64 writes them: cast there and back, they are the same text."""


def csv_batches(stream: BinaryIO, shown: str) -> Iterator[pa.RecordBatch]:
    """Yield the records of a file with a header, in batches of some MiB.

    Args:
        shown: What errors call the file.

    Raises:
        BadRequest: No header, or records that do not have its columns.
    """
    start = stream.read(HEADER_BYTES)
    names, delimiter = _header(start, shown)
    source = _Chained(start, stream)
    try:
        reader = pv.open_csv(
            pa.PythonFile(source, mode="r"),
            read_options=pv.ReadOptions(block_size=BLOCK_BYTES, use_threads=False),
            parse_options=pv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=pv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                check_utf8=False,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
        for batch in reader:
            if batch.num_rows:
                yield _typed(batch)
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        reason = " ".join(str(error).split())
        raise BadRequest(f"input {shown} cannot be read as CSV: {reason}; repair it") from error


def _header(start: bytes, shown: str) -> tuple[list[str], str]:
    text = start.decode("utf-8-sig", "replace")
    if not text.strip():
        return [], ","
    line = text.lstrip("\r\n").splitlines()[0]
    delimiter = max(DELIMITERS, key=lambda mark: (line.count(mark), -DELIMITERS.index(mark)))
    names = next(csv.reader(io.StringIO(text), delimiter=delimiter), [])
    if repeated := [name for name in names if names.count(name) > 1]:
        raise BadRequest(f"input {shown} has column {repeated[0]!r} twice; rename one of them")
    return names, delimiter


def _typed(batch: pa.RecordBatch) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [_column(column) for column in batch.columns], names=batch.schema.names
    )


def _column(column: pa.Array) -> pa.Array:
    if column.null_count == len(column):
        return pa.nulls(len(column))
    # The first value settles most columns.
    head = column.drop_null()[:1]
    import pyarrow.compute as pc  # noqa: PLC0415 - slow to load, and seldom needed

    if not pc.match_substring_regex(head.cast(pa.binary()), _INTEGER)[0].as_py():
        return column
    if not pc.all(pc.match_substring_regex(column.cast(pa.binary()), _INTEGER)).as_py():
        return column
    return column.cast(pa.int64())


class _Chained(io.RawIOBase):
    """What was read already, then the rest."""

    def __init__(self, start: bytes, rest: BinaryIO) -> None:
        self._start = start
        self._rest = rest

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if self._start:
            data, self._start = self._start[:size], self._start[size:]
            return data
        return self._rest.read(size)
