"""The input as one sequence of rows: described without reading it, and read in batches."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from mayfly.models.batch_lines import BatchLines
from mayfly.models.errors import BadRequest, MayflyError
from mayfly.models.shards import RowGroup
from mayfly.storage.cells import cell_values
from mayfly.storage.footer import InputFile
from mayfly.storage.input_files import name_in, open_filesystem
from mayfly.storage.json_lines import has_large_integer, read_json
from mayfly.storage.parquet_reader import BATCH_ROWS, ParquetReader, group_start
from mayfly.storage.reader_pool import ReaderPool
from mayfly.storage.remote_blocks import BlockStore
from mayfly.storage.unified_types import is_json

HASHED_WHOLE_BYTES = 128 * 2**20
"""Local inputs up to this size are hashed completely; of larger ones, samples."""

SAMPLE_BYTES = 64 * 2**10
SAMPLES_PER_FILE = 64

ARROW_ROWS = 1024
"""Maximum rows of an Arrow batch. What is done with a batch between two reads keeps other threads
waiting for the interpreter, such as the one that sends requests or acknowledges answers."""


class Chunk(NamedTuple):
    """Some consecutive rows as plain Python values.

    Attributes:
        first_row: Position of the first of them in the input, from 0.
        columns: For each requested column, one value per row.
        rows: Number of rows; valid even if no column was requested.
    """

    first_row: int
    columns: dict[str, list[object]]
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Description of an INPUT; small and picklable; files are opened when they are read.

    Attributes:
        uri: The INPUT as given, with credentials masked.
        files: In the order of their paths; without empty files.
        limit: Maximum number of rows, from the start; None for all.
        schema: Arrow schema for the rows of all files.
        fingerprint: SHA-256 (hex) of content and limit, see `open_dataset`.
        beside: Folder for copies and for blocks of remote files.
        copied: Description of what was copied to Parquet; "" for nothing.
        requests: Properties of the rows if they are OpenAI-batch requests.
        checked_casts: Columns with values that the schema may not hold; see `check_cells`.
        packed: Copy of the rows of many small files, from which they are read; see
            `packed_files`.
        readers: Idle readers, owned by this object and its process.
        rows: After the limit; at least 1.
    """

    uri: str
    files: tuple[InputFile, ...]
    limit: int | None
    schema: pa.Schema = field(compare=False)
    fingerprint: str
    beside: str = ""
    copied: str = ""
    requests: BatchLines | None = None
    checked_casts: tuple[str, ...] = ()
    packed: tuple[InputFile, ...] = ()
    readers: ReaderPool = field(default_factory=ReaderPool, compare=False, repr=False)
    rows: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        # Computed once, because it is used for each chunk and there may be thousands of files.
        total = sum(file.rows for file in self.files)
        rows = total if self.limit is None else min(total, self.limit)
        object.__setattr__(self, "rows", rows)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return tuple(self.schema.names)

    @property
    def row_groups(self) -> list[RowGroup]:
        """All row groups in order, truncated at the limit."""
        groups, left = [], self.rows
        for group in (group for file in self.files for group in file.groups):
            rows = min(group.rows, left)
            if rows:
                groups.append(RowGroup(rows, group.bytes * rows // group.rows))
            left -= rows
        return groups

    def describe(self) -> dict[str, Any]:
        """Return the description of the input for a manifest, as plain JSON values.

        `sources` has each file's name, rows and footer digest in the order of the rows. It
        identifies a row even after files were added. `requests` has the URLs of OpenAI-batch
        requests.
        """
        asked = {} if self.requests is None else {"requests": list(self.requests.urls)}
        return {
            **asked,
            "uri": self.uri,
            "fingerprint": self.fingerprint,
            "files": len(self.files),
            "rows": self.rows,
            "columns": {item.name: str(item.type) for item in self.schema},
            "sources": [
                [source_name(self.uri, file), file.rows, file.content or file.footer]
                for file in self.files
            ],
        }

    def fingerprint_of_first(self, files: int) -> str:
        """Return the fingerprint of an input with only the first `files` files."""
        return fingerprint_of(self.files[:files], self.limit)

    def read(
        self,
        first_row: int,
        rows: int,
        columns: Sequence[str] | None = None,
        batch_rows: int | None = None,
    ) -> Iterator[Chunk]:
        """Yield consecutive rows in chunks of about 4 MiB, decoding only the requested columns.

        A read that starts where an earlier read of the same columns stopped, in any thread of this
        process, continues it without decoding anything again.

        Args:
            first_row, rows: A range inside the dataset (IndexError otherwise).
            columns: Names; None for all; may be empty.
            batch_rows: Maximum rows per chunk; None chooses by size, at most 4096.

        Raises:
            BadRequest: A column does not exist.
            TerminalError, RetryableError: A file cannot be read, or has changed.
        """
        if columns is not None and not columns:
            yield from self._without_columns(first_row, rows, batch_rows or BATCH_ROWS)
            return
        for at, batch in self._batches(first_row, rows, columns, batch_rows):
            values = {
                item.name: _values(batch.column(number), item)
                for number, item in enumerate(batch.schema)
            }
            yield Chunk(at, values, batch.num_rows)

    def arrow_batches(self, first_row: int, rows: int) -> Iterator[pa.RecordBatch]:
        """Yield consecutive rows with all columns as Arrow batches of `schema`; see `read`."""
        for _, batch in self._batches(first_row, rows, None, ARROW_ROWS):
            yield pa.RecordBatch.from_arrays(batch.columns, schema=self.schema)

    def check_cells(
        self, prompt_columns: Sequence[str], *, most_bytes: int = HASHED_WHOLE_BYTES
    ) -> None:
        """Decode every cell, to find damage before rows are paid for.

        Done for local inputs that are small enough to be hashed completely: after a repair such an
        input is another one, so its answers could not be kept. A larger input keeps its fingerprint
        when a damaged file is replaced by a good copy, so a run that stopped at the damage can be
        resumed with all its answers.

        Raises:
            BadRequest: A file is damaged; the message names it.
        """
        small = all(file.remote is None for file in self.files)
        small = small and sum(file.size for file in self.files) <= most_bytes
        casts = tuple(name for name in self.checked_casts if name not in prompt_columns)
        names = self.columns if small else casts
        # Every cell of a copied file has already been read.
        if not names or self.packed or all(file.content for file in self.files):
            return
        try:
            for _ in self._batches(0, self.rows, names, None):
                pass
        except MayflyError as error:
            raise BadRequest(str(error)) from error

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
        key = (self.fingerprint, names, batch_rows)
        files = self.packed or self.files
        start = group_start([group for file in files for group in file.groups], first_row)
        reader = self.readers.borrow(key, first_row, start) or ParquetReader(
            files,
            self._store(),
            pa.schema([self.schema.field(name) for name in names]),
            position=first_row,
            batch_rows=batch_rows,
        )
        try:
            reader.skip_to(first_row)
            while (at := reader.position) < end_row:
                yield at, reader.take(end_row - at)
        except GeneratorExit:
            self.readers.give_back(key, reader)
            raise
        except BaseException:
            reader.close()
            raise
        if end_row < self.rows:
            self.readers.give_back(key, reader)
        else:
            reader.close()

    def close(self) -> None:
        """Close the files that are held open between two reads; reading opens them again."""
        self.readers.close()

    def _store(self) -> BlockStore | None:
        if self.packed or all(file.remote is None for file in self.files):
            return None
        return BlockStore(open_filesystem(self.uri), Path(self.beside), self.uri)

    def _without_columns(self, first_row: int, rows: int, batch_rows: int) -> Iterator[Chunk]:
        end_row = self._end_row(first_row, rows)
        for at in range(first_row, end_row, batch_rows):
            yield Chunk(at, {}, min(batch_rows, end_row - at))

    def _end_row(self, first_row: int, rows: int) -> int:
        end_row = first_row + rows
        if not 0 <= first_row <= end_row <= self.rows:
            raise IndexError(f"rows {first_row} to {end_row} of an input that has {self.rows}")
        return end_row


def source_name(uri: str, file: InputFile) -> str:
    """Return a file's name in a manifest, followed by the number of the part of a copy."""
    name = name_in(uri, file.name)
    part = Path(file.path).stem if file.content else "0000"
    return name if int(part) == 0 else f"{name} ({int(part) + 1})"


def fingerprint_of(
    files: Sequence[InputFile], limit: int | None, *, whole_bytes: int = HASHED_WHOLE_BYTES
) -> str:
    """Return the SHA-256 (hex) of the content of files and a limit; see `open_dataset`.

    Args:
        whole_bytes: Local files of at most this total size are hashed completely.
    """
    whole = sum(file.size for file in files) <= whole_bytes
    digest = hashlib.sha256(f"limit {limit}".encode())
    for file in files:
        if file.constants:
            digest.update(repr(file.constants).encode())
        if file.content:
            digest.update(f"|{file.rows} {file.content}|".encode())
            continue
        digest.update(f"|{file.rows} {file.size} {file.footer}|".encode())
        if file.remote is not None:
            continue
        with Path(file.path).open("rb") as opened:
            if whole:
                digest.update(hashlib.file_digest(opened, "sha256").digest())
                continue
            for number in range(SAMPLES_PER_FILE):
                opened.seek(file.size * number // SAMPLES_PER_FILE)
                digest.update(opened.read(SAMPLE_BYTES))
    return digest.hexdigest()


def _values(column: pa.Array, item: pa.Field) -> list[Any]:
    """Return cells as plain Python values; JSON text of mixed columns is parsed."""
    values = cell_values(column)
    if not is_json(item):
        return values
    exact = has_large_integer(column)
    return [_parsed(value, exact=exact) if type(value) is str else value for value in values]


def _parsed(text: str, *, exact: bool) -> Any:
    try:
        return read_json(text, exact=exact)
    except ValueError:  # A lone surrogate, or NaN.
        return json.loads(text)
