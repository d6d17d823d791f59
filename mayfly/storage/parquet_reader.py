"""Decode rows of a dataset from a position onward, in batches of bounded size."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from mayfly.models.errors import MayflyError, RetryableError, TerminalError
from mayfly.models.shards import RowGroup
from mayfly.storage.footer import InputFile, footer_of, open_binary, read_arrow_footer
from mayfly.storage.formats import ARROW
from mayfly.storage.remote_blocks import BlockStore
from mayfly.storage.unified_types import fit, text_dictionaries

BATCH_ROWS = 4096
BATCH_BYTES = 4 * 2**20
"""Maximum rows of a batch, and its approximate maximum size in memory."""

LOCAL_BUFFER_BYTES = 256 * 2**10
REMOTE_BUFFER_BYTES = 4 * 2**20
"""Read-ahead per column. Without a buffer Arrow reads a row group's whole column at once."""

MAPPED_BYTES = 64 * 2**20
"""Arrow IPC files with larger batches are memory-mapped instead of read."""


class _Run(NamedTuple):
    """Row groups read together: one, or neighbours too small for separate reads."""

    groups: list[int]
    first_row: int
    rows: int


class ParquetReader:
    """Decodes rows of some columns from a position onward, converted to the dataset's schema.

    Attributes:
        position: The next row to read.
    """

    def __init__(
        self,
        files: Sequence[InputFile],
        store: BlockStore | None,
        schema: pa.Schema,
        *,
        position: int,
        batch_rows: int | None,
    ) -> None:
        self.position = position
        self._files = files
        self._store = store
        self._schema = schema
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
        """Decode and drop the rows before a row."""
        while self.position < row:
            self.take(row - self.position)

    def close(self) -> None:
        """Close the current file, and the connections to remote files."""
        self._batches.close()
        if self._store is not None:
            self._store.close()
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
                except Exception as error:
                    if not isinstance(error, OSError | pa.ArrowException) and file.remote is None:
                        raise
                    raise _unreadable(file, error) from error
            first_row = end_row

    def _decode_file(self, file: InputFile, skip: int) -> Iterator[pa.RecordBatch]:
        if file.format == ARROW:
            yield from self._decode_arrow(file, skip)
            return
        with open_binary(self._store, file.path, file.remote) as opened:
            footer = footer_of(opened, file.name, int96=file.int96)
            if footer.file.footer != file.footer:
                raise _changed(file)
            remote = file.remote is not None
            names = [name for name in self._schema.names if name in footer.schema.names]
            # Arrow reads local files itself, without the GIL.
            with pq.ParquetFile(
                opened if remote else file.path,
                metadata=footer.metadata,
                buffer_size=REMOTE_BUFFER_BYTES if remote else LOCAL_BUFFER_BYTES,
                pre_buffer=False,
                arrow_extensions_enabled=True,
                coerce_int96_timestamp_unit=file.int96,
                page_checksum_verification=True,
                read_dictionary=text_dictionaries(footer.schema),
            ) as parquet:
                for run in _runs(file.groups):
                    if run.first_row + run.rows > skip:
                        yield from self._decode_run(
                            file, parquet, run, names, max(skip - run.first_row, 0)
                        )

    def _decode_run(
        self, file: InputFile, parquet: pq.ParquetFile, run: _Run, names: list[str], skip: int
    ) -> Iterator[pa.RecordBatch]:
        if not names:
            yield from self._without_cells(file, run.rows - skip)
            return
        rows = min(self._batch_rows or BATCH_ROWS, batch_rows(parquet, run.groups, names))
        for batch in parquet.iter_batches(
            batch_size=rows, row_groups=run.groups, columns=names, use_threads=False
        ):
            if skip >= batch.num_rows:
                skip -= batch.num_rows
                continue
            yield self._as_asked(file, batch.slice(skip))
            skip = 0

    def _decode_arrow(self, file: InputFile, skip: int) -> Iterator[pa.RecordBatch]:
        footer = read_arrow_footer(file.path)
        if footer is None or footer.file.footer != file.footer:
            raise _changed(file)
        names = footer.schema.names
        wanted = [names.index(name) for name in self._schema.names if name in names]
        if not wanted:
            yield from self._without_cells(file, file.rows - skip)
            return
        # Pages of a mapped file count as memory until the system reclaims them; with large batches
        # that is still less than reading a whole batch.
        largest = max(group.bytes for group in file.groups)
        open_file = pa.OSFile if largest <= MAPPED_BYTES else pa.memory_map
        with open_file(file.path) as opened:
            options = pa.ipc.IpcReadOptions(included_fields=wanted, use_threads=False)
            reader = pa.ipc.open_file(opened, options=options)
            for number in range(reader.num_record_batches):
                batch = reader.get_batch(number)
                if skip >= batch.num_rows:
                    skip -= batch.num_rows
                    continue
                batch.validate()
                row_bytes = max(1, batch.nbytes // batch.num_rows)
                rows = self._batch_rows or int(min(max(BATCH_BYTES // row_bytes, 1), BATCH_ROWS))
                for start in range(skip, batch.num_rows, rows):
                    yield self._as_asked(file, batch.slice(start, rows))
                skip = 0

    def _without_cells(self, file: InputFile, rows: int) -> Iterator[pa.RecordBatch]:
        """Yield rows of a file that has none of the requested columns."""
        each = self._batch_rows or BATCH_ROWS
        for start in range(0, rows, each):
            count = min(each, rows - start)
            empty = pa.RecordBatch.from_arrays([pa.nulls(count)], names=[""])
            yield self._as_asked(file, empty)

    def _as_asked(self, file: InputFile, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return a batch with the requested columns: a file may lack some, or have other types."""
        arrays = []
        names = batch.schema.names
        for field in self._schema:
            if field.name in names:
                at = names.index(field.name)
                arrays.append(fit(batch.column(at), batch.schema.field(at), field))
                continue
            value = dict(file.constants).get(field.name)
            if value is None:
                arrays.append(pa.nulls(batch.num_rows, field.type))
            else:
                arrays.append(pa.repeat(pa.scalar(value).cast(field.type), batch.num_rows))
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)


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
        # A long repeated text is stored once in the file, but once per row in memory.
        sample = parquet.iter_batches(
            batch_size=8, row_groups=groups[:1], columns=list(columns), use_threads=False
        )
        first = next(sample, None)
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


def _unreadable(file: InputFile, error: Exception) -> MayflyError:
    reason = " ".join(str(error).split()) or type(error).__name__
    if file.remote is not None:
        return RetryableError(f"input {file.name} could not be read: {reason}; try again")
    return TerminalError(f"input {file.name} cannot be read: {reason}; repair it and run again")


def _changed(file: InputFile) -> TerminalError:
    return TerminalError(
        f"input {file.name} changed during the run; put it back and run again, "
        "or give another --output"
    )


def group_start(groups: Sequence[RowGroup], row: int) -> int:
    """Return the first row of the row group that holds a row."""
    starts = list(accumulate((group.rows for group in groups), initial=0))
    return starts[bisect_right(starts, row) - 1]
