"""The input: Parquet files as one run of rows, described by their footers and read in batches."""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa

from mayfly.models.errors import BadRequest
from mayfly.models.shards import RowGroup
from mayfly.storage import parquet_reader as cursors
from mayfly.storage.footer import Footer, InputFile, open_binary, read_footer
from mayfly.storage.input_files import locate, name_in, open_filesystem

HASHED_WHOLE_BYTES = 128 * 2**20
"""Local inputs up to this size are hashed byte by byte; of larger ones, a sample."""

SAMPLE_BYTES = 64 * 2**10
SAMPLES_PER_FILE = 64


class Chunk(NamedTuple):
    """Some consecutive rows as plain Python values.

    Attributes:
        first_row: Position of the first of them in the input, from 0.
        columns: For each column asked for, one value per row.
        rows: How many; also right when no column was asked for.
    """

    first_row: int
    columns: dict[str, list[object]]
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """What an INPUT holds; small, picklable, and no file is open until it is read.

    Attributes:
        uri: The INPUT as it was given.
        files: In the order of their paths; only those that have rows.
        limit: Only so many rows from the start, or None.
        schema: Arrow's, the same for all files.
        fingerprint: SHA-256 (hex) of content and limit, see `open_dataset`.
    """

    uri: str
    files: tuple[InputFile, ...]
    limit: int | None
    schema: pa.Schema = field(compare=False)
    fingerprint: str

    @property
    def rows(self) -> int:
        """Rows, after the limit; at least 1."""
        total = sum(file.rows for file in self.files)
        return total if self.limit is None else min(total, self.limit)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return tuple(self.schema.names)

    @property
    def schema_text(self) -> str:
        """The columns and their types, one `name: type` a line."""
        return "\n".join(f"{item.name}: {item.type}" for item in self.schema)

    @property
    def row_groups(self) -> list[RowGroup]:
        """All row groups in order, cut at the limit."""
        groups, left = [], self.rows
        for group in (group for file in self.files for group in file.groups):
            rows = min(group.rows, left)
            if rows:
                groups.append(RowGroup(rows, group.bytes * rows // group.rows))
            left -= rows
        return groups

    def describe(self) -> dict[str, Any]:
        """Return what a manifest keeps of the input, as plain JSON values.

        `sources` has each file's name, rows and footer digest in the order of the rows: by it a
        row is known again however many files have come since.
        """
        return {
            "uri": self.uri,
            "fingerprint": self.fingerprint,
            "files": len(self.files),
            "rows": self.rows,
            "columns": {item.name: str(item.type) for item in self.schema},
            "sources": [
                [name_in(self.uri, file.path), file.rows, file.footer] for file in self.files
            ],
        }

    def fingerprint_of_first(self, files: int) -> str:
        """Return the fingerprint of an input that has only the first so many files."""
        return _fingerprint(open_filesystem(self.uri), self.files[:files], self.limit)

    def read(
        self,
        first_row: int,
        rows: int,
        columns: Sequence[str] | None = None,
        batch_rows: int | None = None,
    ) -> Iterator[Chunk]:
        """Yield consecutive rows in chunks of about 4 MiB, decoding just the columns asked for.

        Reading on where an earlier read of the same columns stopped, in any thread of this
        process, continues it and decodes nothing again.

        Args:
            first_row, rows: A range inside the dataset (IndexError otherwise).
            columns: Names; None is all of them, none at all is allowed.
            batch_rows: Most rows in a chunk; None chooses by their size, 4096 at most.

        Raises:
            BadRequest: A column that is not there.
            TerminalError, RetryableError: A file that cannot be read, or has changed.
        """
        if columns is not None and not columns:
            yield from self._without_columns(first_row, rows, batch_rows or cursors.BATCH_ROWS)
            return
        for at, batch in self._batches(first_row, rows, columns, batch_rows):
            values = {name: batch.column(name).to_pylist() for name in batch.schema.names}
            yield Chunk(at, values, batch.num_rows)

    def arrow_batches(self, first_row: int, rows: int) -> Iterator[pa.RecordBatch]:
        """Yield consecutive rows with all columns as Arrow batches of `schema`; see `read`."""
        for _, batch in self._batches(first_row, rows, None, None):
            yield pa.RecordBatch.from_arrays(batch.columns, schema=self.schema)

    def _batches(
        self, first_row: int, rows: int, columns: Sequence[str] | None, batch_rows: int | None
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        names = self.columns if columns is None else tuple(dict.fromkeys(columns))
        if missing := [name for name in names if name not in self.columns]:
            raise BadRequest(
                f"input {self.uri} has no column {missing[0]!r}; it has {', '.join(self.columns)}"
            )
        end_row = self._end_row(first_row, rows)
        if first_row == end_row:
            return
        key = (self.uri, self.fingerprint, names, batch_rows)
        start = cursors.group_start(self._all_groups(), first_row)
        cursor = cursors.borrow(key, first_row, start) or cursors.ParquetReader(
            self.files,
            open_filesystem(self.uri),
            names,
            position=first_row,
            batch_rows=batch_rows,
        )
        try:
            cursor.skip_to(first_row)
            while (at := cursor.position) < end_row:
                yield at, cursor.take(end_row - at)
        except GeneratorExit:
            cursors.give_back(key, cursor)
            raise
        except BaseException:
            cursor.close()
            raise
        if end_row < self.rows:
            cursors.give_back(key, cursor)
        else:
            cursor.close()

    def _without_columns(self, first_row: int, rows: int, batch_rows: int) -> Iterator[Chunk]:
        end_row = self._end_row(first_row, rows)
        for at in range(first_row, end_row, batch_rows):
            yield Chunk(at, {}, min(batch_rows, end_row - at))

    def _end_row(self, first_row: int, rows: int) -> int:
        end_row = first_row + rows
        if not 0 <= first_row <= end_row <= self.rows:
            raise IndexError(f"rows {first_row} to {end_row} of an input that has {self.rows}")
        return end_row

    def _all_groups(self) -> list[RowGroup]:
        return [group for file in self.files for group in file.groups]


def open_dataset(uri: str, *, limit: int | None = None, known: Sequence[str] = ()) -> Dataset:
    """Describe an input by its footers: a file, a folder or a glob, local or an fsspec URI.

    Files come in the order of their paths; names that begin with `_` or `.` are not data, and
    everything else must be Parquet, so that no rows are left out silently. The fingerprint
    covers content, row counts and the limit, not paths or times: a copied input is the same one.
    Content means every byte of a local input of up to 128 MiB; of a larger one the footers and 64
    samples a file; of a remote one the footers.

    Args:
        known: Names of files that earlier runs had, in their order: these come first, so that
            their rows stay where they were.

    Raises:
        BadRequest: Nothing there, not Parquet, truncated, no rows, files whose columns differ, a
            protocol that is not known; one line that says what to do.
    """
    filesystem, paths = locate(uri)
    if len(paths) == 1:
        footers = [read_footer(filesystem, paths[0])]
    else:
        with ThreadPoolExecutor(max_workers=16) as pool:
            footers = list(pool.map(lambda path: read_footer(filesystem, path), paths))
    filled = [footer for footer in footers if footer.file.rows]
    if not filled:
        raise BadRequest(f"input {uri} has 0 rows; give an input with rows")
    places = {name: place for place, name in enumerate(known)}
    # Sorting is stable: the others keep the order of their paths.
    filled.sort(key=lambda footer: places.get(name_in(uri, footer.file.path), len(places)))
    schema = _common_schema(filled)
    return Dataset(
        uri=uri,
        files=tuple(footer.file for footer in filled),
        limit=limit,
        schema=schema,
        fingerprint=_fingerprint(filesystem, [footer.file for footer in filled], limit),
    )


def _common_schema(footers: Sequence[Footer]) -> pa.Schema:
    first, schema = footers[0].file.path, footers[0].schema
    names = schema.names
    if repeated := [name for name in names if names.count(name) > 1]:
        raise BadRequest(f"input {first} has column {repeated[0]!r} twice; rename one of them")
    if not names:
        raise BadRequest(f"input {first} has no columns; give an input with columns")
    for footer in footers[1:]:
        other, path = footer.schema, footer.file.path
        for name in dict.fromkeys([*names, *other.names]):
            if other.names.count(name) != names.count(name):
                lacking = path if name in names else first
                raise BadRequest(
                    f"input files differ: column {name!r} is not in {lacking} "
                    f"(compare {first if lacking == path else path}); give files with one schema"
                )
            was, now = schema.field(name), other.field(name)
            if not was.type.equals(now.type):
                raise BadRequest(
                    f"input files differ: column {name!r} is {was.type} in {first} and "
                    f"{now.type} in {path}; give files with one schema"
                )
            if now.nullable and not was.nullable:
                schema = schema.set(schema.get_field_index(name), was.with_nullable(nullable=True))
    return schema


def _fingerprint(filesystem: Any, files: Sequence[InputFile], limit: int | None) -> str:
    whole = sum(file.size for file in files) <= HASHED_WHOLE_BYTES
    digest = hashlib.sha256(f"limit {limit}".encode())
    for file in files:
        digest.update(f"|{file.rows} {file.size} {file.footer}|".encode())
        if filesystem is not None:
            continue
        with open_binary(None, file.path) as opened:
            if whole:
                digest.update(hashlib.file_digest(opened, "sha256").digest())
                continue
            for number in range(SAMPLES_PER_FILE):
                opened.seek(file.size * number // SAMPLES_PER_FILE)
                digest.update(opened.read(SAMPLE_BYTES))
    return digest.hexdigest()
