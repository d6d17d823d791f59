"""Read the footers of Parquet and Arrow IPC files, which describe their rows."""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from mayfly.models.errors import BadRequest
from mayfly.models.shards import RowGroup
from mayfly.storage.formats import ARROW, IN_WORDS, PARQUET
from mayfly.storage.remote_blocks import BlockFile, BlockStore, RemoteFile

MAGIC = b"PAR1"
TAIL_BYTES = 64 * 2**10
"""Bytes read from the end of a file at first; most footers are smaller."""

SIGNATURE_BYTES = 28
"""Size of the signature in the plaintext footer of an encrypted file.
Source: Parquet Modular Encryption, 5.2."""

LAST_NS = 2**63 // 1000
"""Maximum microseconds since 1970 that an int64 of nanoseconds can hold."""


MAPPED_BATCHES = 256
"""Arrow IPC batches that are counted by one mapping: the pages that it touches are memory."""


class InputFile(NamedTuple):
    """One input file, described by its footer.

    Attributes:
        path: Path to open: local, or in a remote file system.
        size: Size in bytes.
        footer: SHA-256 (hex) of the footer's bytes, to detect changes.
        groups: Its row groups.
        shown: Name in messages and the manifest; differs from `path` for a copy.
        remote: Identifies a remote file's blocks; None for a local file.
        content: For a copy, SHA-256 (hex) of the source's bytes; otherwise "".
        constants: Columns from its path or a table's log, constant for all its rows.
        int96: The unit in which INT96 timestamps are read: `ns`, or `us` for years beyond 2262.
        format: `Parquet` or `Arrow IPC`.
    """

    path: str
    size: int
    footer: str
    groups: tuple[RowGroup, ...]
    shown: str = ""
    remote: RemoteFile | None = None
    content: str = ""
    constants: tuple[tuple[str, Any], ...] = ()
    int96: str = "ns"
    format: str = PARQUET

    @property
    def rows(self) -> int:
        """Rows of all row groups."""
        return sum(group.rows for group in self.groups)

    @property
    def name(self) -> str:
        """The name in messages."""
        return self.shown or self.path


class Footer(NamedTuple):
    """A parsed footer; `metadata` is Parquet's."""

    file: InputFile
    metadata: Any
    schema: pa.Schema


@contextmanager
def open_binary(store: BlockStore | None, path: str, remote: RemoteFile | None) -> Iterator[Any]:
    """Open a file for reading bytes: a local file, or a remote one by blocks."""
    if remote is None or store is None:
        with Path(path).open("rb") as file:
            yield file
    else:
        with BlockFile(store, remote) as file:
            yield file


def read_footer(
    path: str, store: BlockStore | None = None, remote: RemoteFile | None = None
) -> Footer:
    """Read one Parquet file's footer.

    Raises:
        BadRequest: Not Parquet, truncated, damaged or unreadable; the message names the file.
    """
    try:
        with open_binary(store, path, remote) as file:
            found = footer_of(file, path)
            unit = _int96_unit(file, found.metadata)
            if unit != "ns":
                found = footer_of(file, path, int96=unit)
            return found._replace(file=found.file._replace(remote=remote))
    except (BadRequest, MemoryError):
        raise
    except Exception as error:
        # For any exception of a file system or Arrow, the user can only repair this file.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadRequest(
            f"input {path} cannot be read: {reason}; repair it or leave it out"
        ) from error


def footer_of(file: Any, path: str, *, int96: str = "ns") -> Footer:
    """Read the footer of an open Parquet file; see `read_footer`."""
    size = file.seek(0, 2)
    file.seek(max(size - TAIL_BYTES, 0))
    tail = file.read(min(size, TAIL_BYTES))
    if tail[-4:] == b"PARE":
        raise _encrypted(path)
    if tail[-4:] != MAGIC or size < 12:
        file.seek(0)
        if file.read(4) == MAGIC:
            raise BadRequest(f"input {path} is truncated Parquet; write it again or leave it out")
        raise BadRequest(
            f"input {path} is not a Parquet file; give {IN_WORDS}, by their usual names; "
            "of a folder with other files, give a glob such as 'data/*.parquet'"
        )
    length = int.from_bytes(tail[-8:-4], "little")
    if length + 12 > size:
        raise BadRequest(f"input {path} is truncated Parquet; write it again or leave it out")
    if length + 8 > len(tail):
        file.seek(size - length - 8)
        tail = file.read(length + 8)
    footer = tail[-length - 8 :]
    metadata = pq.read_metadata(pa.BufferReader(MAGIC + footer))
    # Arrow aborts the process if it accesses an encrypted column.
    if length - metadata.serialized_size >= SIGNATURE_BYTES:
        raise _encrypted(path)
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    return Footer(
        InputFile(
            path=path,
            size=size,
            footer=hashlib.sha256(footer).hexdigest(),
            groups=tuple(RowGroup(group.num_rows, group.total_byte_size) for group in groups),
            int96=int96,
        ),
        metadata,
        _schema_of(footer, metadata, int96),
    )


def read_arrow_footer(path: str) -> Footer | None:
    """Read the footer of a local Arrow IPC file; None for a stream, which has no footer.

    Raises:
        BadRequest: Damaged, truncated or unreadable; the message names the file.
    """
    try:
        with Path(path).open("rb") as file:
            if file.read(6) != b"ARROW1":
                return None
            size = file.seek(0, 2)
            file.seek(max(size - TAIL_BYTES, 0))
            tail = file.read()
        with pa.memory_map(path) as mapped:
            reader = pa.ipc.open_file(mapped)
            schema, count = reader.schema, reader.num_record_batches
            del reader
        rows: list[int] = []
        for first in range(0, count, MAPPED_BATCHES):
            rows += _rows_of_batches(path, range(first, min(first + MAPPED_BATCHES, count)))
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadRequest(
            f"input {path} cannot be read: {reason}; repair it or leave it out"
        ) from error
    total = max(1, sum(rows))
    groups = tuple(RowGroup(count, size * count // total) for count in rows if count)
    digest = hashlib.sha256(tail).hexdigest()
    return Footer(InputFile(path, size, digest, groups, format=ARROW), None, schema)


def _rows_of_batches(path: str, batches: Iterable[int]) -> list[int]:
    with pa.memory_map(path) as mapped:
        # One column is enough to know the rows, and the others may be compressed.
        reader = pa.ipc.open_file(mapped, options=pa.ipc.IpcReadOptions(included_fields=[0]))
        return [reader.get_batch(number).num_rows for number in batches]


def _encrypted(path: str) -> BadRequest:
    return BadRequest(f"input {path} is encrypted Parquet; give a file that is not encrypted")


def _schema_of(footer: bytes, metadata: Any, int96: str) -> pa.Schema:
    """Return the Arrow schema, with the logical types of Parquet's own schema (UUID, JSON)."""
    with pq.ParquetFile(
        pa.BufferReader(MAGIC + footer),
        metadata=metadata,
        arrow_extensions_enabled=True,
        coerce_int96_timestamp_unit=int96,
    ) as file:
        return file.schema_arrow


def _int96_unit(file: Any, metadata: Any) -> str:
    """Return a unit that can hold all INT96 timestamps of a file, which have no unit themselves.

    Nanoseconds cover the years 1677 to 2262; beyond, Arrow overflows silently.
    """
    columns = [metadata.schema.column(i) for i in range(len(metadata.schema))]
    names = [column.path.split(".")[0] for column in columns if column.physical_type == "INT96"]
    if not names:
        return "ns"
    import pyarrow.compute as pc  # noqa: PLC0415 - slow to load, and seldom needed

    file.seek(0)
    parquet = pq.ParquetFile(file, metadata=metadata, coerce_int96_timestamp_unit="us")
    for batch in parquet.iter_batches(batch_size=65_536, columns=names, use_threads=False):
        for column in batch.columns:
            if not pa.types.is_timestamp(column.type):
                return "us"
            bounds = pc.min_max(column.cast(pa.int64())).as_py()
            if any(abs(bound) >= LAST_NS for bound in bounds.values() if bound is not None):
                return "us"
    return "ns"
