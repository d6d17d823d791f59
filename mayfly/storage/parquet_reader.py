"""A place in the dataset from which rows are decoded forward, in batches of bounded size."""

import os
import threading
from bisect import bisect_right
from collections.abc import Hashable, Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from mayfly.models.errors import MayflyError, RetryableError, TerminalError
from mayfly.models.shards import RowGroup
from mayfly.storage.footer import InputFile, footer_of, open_binary

BATCH_ROWS = 4096
BATCH_BYTES = 4 * 2**20
"""A batch has at most so many rows, and about so many bytes as Arrow holds them."""

LOCAL_BUFFER_BYTES = 256 * 2**10
REMOTE_BUFFER_BYTES = 4 * 2**20
"""Read ahead in each column. Without a buffer Arrow reads a row group's whole column at once."""

KEPT = 2
"""Idle cursors kept: requests and part files each read on from their own place."""


class _Run(NamedTuple):
    """Row groups read together: one, or neighbours too small to be worth a reader each."""

    groups: list[int]
    first_row: int
    rows: int


class ParquetReader:
    """Decodes rows of some columns from a position onward.

    Attributes:
        position: The row that is read next.
    """

    def __init__(
        self,
        files: Sequence[InputFile],
        filesystem: Any,
        columns: Sequence[str],
        *,
        position: int,
        batch_rows: int | None,
    ) -> None:
        self.position = position
        self._files = files
        self._filesystem = filesystem
        self._columns = list(columns)
        self._batch_rows = batch_rows
        self._batches = self._decode(position)
        self._rest: pa.RecordBatch | None = None

    def take(self, rows: int) -> pa.RecordBatch:
        """Return the next rows, at least one and at most `rows`; IndexError at the end."""
        batch = self._rest if self._rest is not None else next(self._batches, None)
        if batch is None:
            raise IndexError(f"the input has no row {self.position}")
        self._rest = batch.slice(rows) if batch.num_rows > rows else None
        batch = batch.slice(0, rows)
        self.position += batch.num_rows
        return batch

    def skip_to(self, row: int) -> None:
        """Decode and drop what lies before a row."""
        while self.position < row:
            self.take(row - self.position)

    def close(self) -> None:
        """Close the file that is being read."""
        self._batches.close()
        self._rest = None

    def _decode(self, position: int) -> Any:
        first_row = 0
        for file in self._files:
            end_row = first_row + file.rows
            if end_row > position:
                try:
                    yield from self._decode_file(file, position - first_row)
                except MayflyError:
                    raise
                except (OSError, pa.ArrowException) as error:
                    raise _unreadable(file, error, remote=self._filesystem is not None) from error
            first_row = end_row

    def _decode_file(self, file: InputFile, skip: int) -> Iterator[pa.RecordBatch]:
        with open_binary(self._filesystem, file.path) as opened:
            footer = footer_of(opened, file.path)
            if footer.file.footer != file.footer:
                raise TerminalError(
                    f"input {file.path} changed during the run; put it back and run again, "
                    "or give another --output"
                )
            remote = self._filesystem is not None
            # Arrow reads local files by itself, without the interpreter.
            with pq.ParquetFile(
                opened if remote else file.path,
                metadata=footer.metadata,
                buffer_size=REMOTE_BUFFER_BYTES if remote else LOCAL_BUFFER_BYTES,
                pre_buffer=False,
            ) as parquet:
                for run in _runs(file.groups):
                    if run.first_row + run.rows > skip:
                        yield from self._decode_run(parquet, run, max(skip - run.first_row, 0))

    def _decode_run(
        self, parquet: pq.ParquetFile, run: _Run, skip: int
    ) -> Iterator[pa.RecordBatch]:
        rows = self._batch_rows or batch_rows(parquet, run.groups, self._columns)
        for batch in parquet.iter_batches(
            batch_size=rows, row_groups=run.groups, columns=self._columns, use_threads=False
        ):
            if skip >= batch.num_rows:
                skip -= batch.num_rows
                continue
            yield batch.slice(skip).select(self._columns)
            skip = 0


def batch_rows(parquet: pq.ParquetFile, groups: Sequence[int], columns: Sequence[str]) -> int:
    """Return how many rows make a batch of about 4 MiB, from 1 to 4096."""
    if not columns:
        return BATCH_ROWS
    size, rows, coded = 0, 0, False
    for index in groups:
        group = parquet.metadata.row_group(index)
        rows += group.num_rows
        for number in range(group.num_columns):
            leaf = group.column(number)
            if any(
                leaf.path_in_schema == c or leaf.path_in_schema.startswith(c + ".") for c in columns
            ):
                size += leaf.total_uncompressed_size
                coded = coded or "RLE_DICTIONARY" in leaf.encodings
    row_bytes = size / max(rows, 1)
    if coded:
        # A long text that every row repeats is kept once in the file and once a row in memory.
        look = parquet.iter_batches(
            batch_size=8, row_groups=groups[:1], columns=list(columns), use_threads=False
        )
        first = next(look, None)
        if first is not None and first.num_rows:
            row_bytes = max(row_bytes, first.nbytes / first.num_rows)
    return int(min(max(BATCH_BYTES / max(row_bytes, 1), 1), BATCH_ROWS))


def _runs(groups: Sequence[RowGroup]) -> Iterator[_Run]:
    together: list[int] = []
    first_row, rows = 0, 0
    for index, group in enumerate(groups):
        if together and rows + group.rows > BATCH_ROWS:
            yield _Run(together, first_row, rows)
            first_row, rows, together = first_row + rows, 0, []
        together = [*together, index]
        rows += group.rows
    if rows:
        yield _Run(together, first_row, rows)


def _unreadable(file: InputFile, error: Exception, *, remote: bool) -> MayflyError:
    reason = " ".join(str(error).split())
    if remote:
        return RetryableError(f"input {file.path} could not be read: {reason}; try again")
    return TerminalError(f"input {file.path} cannot be read: {reason}; repair it and run again")


_idle: list[tuple[Hashable, ParquetReader]] = []
_lock = threading.Lock()


def borrow(key: Hashable, row: int, group_start: int) -> ParquetReader | None:
    """Take an idle cursor that reaches a row sooner than starting at its row group would.

    A cursor has one user at a time: it is out of the pool until `give_back`.
    """
    key = (os.getpid(), key)
    with _lock:
        near = [
            (cursor.position, place)
            for place, (owner, cursor) in enumerate(_idle)
            if owner == key and group_start <= cursor.position <= row
        ]
        return _idle.pop(max(near)[1])[1] if near else None


def give_back(key: Hashable, cursor: ParquetReader) -> None:
    """Keep a cursor for whoever reads on from its position; the longest idle one is closed."""
    with _lock:
        _idle.append(((os.getpid(), key), cursor))
        dropped = _idle.pop(0)[1] if len(_idle) > KEPT else None
    if dropped is not None:
        dropped.close()


def close_idle_cursors() -> None:
    """Close the files that idle cursors hold open, at the end of a run."""
    with _lock:
        cursors = [cursor for _, cursor in _idle]
        _idle.clear()
    for cursor in cursors:
        cursor.close()


def group_start(groups: Sequence[RowGroup], row: int) -> int:
    """Return the first row of the row group that holds a row."""
    starts = list(accumulate((group.rows for group in groups), initial=0))
    return starts[bisect_right(starts, row) - 1]
