"""Read CSV as Arrow batches: text unchanged, and integers only if every value is one.

Type inference would change values: `007` to 7, `1.50` to 1.5, `NA` to null. An empty field
is null, a quoted empty one is empty text.
"""

import csv
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import pyarrow as pa
import pyarrow.csv as pv

from mayfly.models.errors import BadRequest
from mayfly.storage.json_lines import other_format

BLOCK_BYTES = 4 * 2**20
LARGE_BLOCK_BYTES = 2**28
"""Block size for files with a record larger than a block; the maximum record size."""

AHEAD = 3
"""Blocks read ahead. Arrow by itself reads 32 blocks ahead."""

NO_BATCH_S = 0.05
"""Time without a batch from the parser after which it is allowed another block."""

HEADER_BYTES = 2**20
DELIMITERS = (",", ";", "\t", "|")

_INTEGER = r"^(0|-?[1-9][0-9]{0,17})$"
"""Integers that are the same text after a cast to int64 and back."""


class RecordTooLong(Exception):
    """A record does not fit into a block; the batches before it are valid."""


def csv_batches(
    stream: BinaryIO,
    shown: str,
    block_bytes: int = BLOCK_BYTES,
    no_batch_s: float = NO_BATCH_S,
) -> Iterator[pa.RecordBatch]:
    """Yield the records of a file with a header, in batches of about a block.

    Args:
        shown: Name of the file in errors.
        block_bytes: Upper bound of a record's length.
        no_batch_s: See `NO_BATCH_S`.

    Raises:
        BadRequest: There is no header, or records do not have its columns.
        RecordTooLong: A record is longer than `block_bytes`.
    """
    start = stream.read(HEADER_BYTES)
    if start[:1] not in (b"[", b"{") and (advice := other_format(start)) is not None:
        raise BadRequest(f"input {shown} is {advice}")
    names, delimiter = _header(start, shown)
    source = _Paced(start, stream, no_batch_s)
    try:
        reader = pv.open_csv(
            pa.PythonFile(source, mode="r"),
            read_options=pv.ReadOptions(block_size=block_bytes, use_threads=False),
            parse_options=pv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=pv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                check_utf8=False,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
        while (batch := _next(reader, source)) is not None:
            if batch.num_rows:
                yield _typed(batch)
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        reason = " ".join(str(error).split())
        if "straddles two block boundaries" in reason:
            raise RecordTooLong from error
        raise BadRequest(f"input {shown} cannot be read as CSV: {reason}; repair it") from error
    except UnicodeDecodeError as error:
        raise BadRequest(f"input {shown}: the header is not UTF-8; save it as UTF-8") from error
    finally:
        source.stop()


def _next(reader: pv.CSVStreamingReader, source: "_Paced") -> pa.RecordBatch | None:
    with source.wanted():
        try:
            return reader.read_next_batch()
        except StopIteration:
            return None


def _header(start: bytes, shown: str) -> tuple[list[str], str]:
    text = start.decode("utf-8-sig", "replace")
    if not text.strip():
        return [], ","
    line = text.lstrip("\r\n").splitlines()[0]
    delimiter = max(DELIMITERS, key=lambda mark: (line.count(mark), -DELIMITERS.index(mark)))
    try:
        # newline="": lines may end with a carriage return alone.
        names = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
    except csv.Error as error:
        raise BadRequest(
            f"input {shown} cannot be read as CSV: the header: {error}; repair it"
        ) from error
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
    # The first value decides for most columns.
    head = column.drop_null()[:1]
    import pyarrow.compute as pc  # noqa: PLC0415 - slow to load, and seldom needed

    if not pc.match_substring_regex(head.cast(pa.binary()), _INTEGER)[0].as_py():
        return column
    if not pc.all(pc.match_substring_regex(column.cast(pa.binary()), _INTEGER)).as_py():
        return column
    return column.cast(pa.int64())


class _Paced(io.RawIOBase):
    """A stream that starts with bytes already read, and limits how far Arrow's thread reads ahead.

    Each requested batch allows one more block, in addition to `AHEAD` blocks.
    """

    def __init__(self, start: bytes, rest: BinaryIO, no_batch_s: float) -> None:
        self._start = start
        self._rest = rest
        self._no_batch_s = no_batch_s
        self._changed = threading.Condition()
        self._allowed = AHEAD
        self._waits = True
        self._stopped = False

    def readable(self) -> bool:
        return True

    @contextmanager
    def wanted(self) -> Iterator[None]:
        """Allow another block while the caller waits for a batch in the context."""
        with self._changed:
            self._allowed += 1
            self._waits = True
            self._changed.notify_all()
        try:
            yield
        finally:
            self._waits = False

    def stop(self) -> None:
        """Release the reading thread, because no more batches are needed."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def read(self, size: int = -1) -> bytes:
        with self._changed:
            while self._allowed <= 0 and not self._stopped:
                # A record longer than a block yields no batch, so another block is needed.
                if not self._changed.wait(self._no_batch_s) and self._waits:
                    break
            # A block too many, on a busy machine, counts against later ones.
            self._allowed -= 1
        if self._start:
            data, self._start = self._start[:size], self._start[size:]
            return data
        return self._rest.read(size)
