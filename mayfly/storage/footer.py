"""Parquet footers: what a file holds, without reading what it holds."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from mayfly.models.errors import BadRequest
from mayfly.models.shards import RowGroup

MAGIC = b"PAR1"
TAIL_BYTES = 64 * 2**10
"""Read from the end of a file in one go; most footers are smaller."""


class InputFile(NamedTuple):
    """One Parquet file as its footer describes it.

    Attributes:
        size: Bytes.
        footer: SHA-256 (hex) of the footer's bytes, by which a file changed under us is noticed.
        groups: Its row groups that have rows.
    """

    path: str
    size: int
    footer: str
    groups: tuple[RowGroup, ...]

    @property
    def rows(self) -> int:
        """Rows of all row groups."""
        return sum(group.rows for group in self.groups)


class Footer(NamedTuple):
    """A parsed footer."""

    file: InputFile
    metadata: pq.FileMetaData
    schema: pa.Schema


@contextmanager
def open_binary(filesystem: Any, path: str) -> Iterator[Any]:
    """Open a file to read bytes; remote reads are as large as asked for, without a cache."""
    if filesystem is None:
        with Path(path).open("rb") as file:
            yield file
    else:
        with filesystem.open(path, "rb", cache_type="none") as file:
            yield file


def read_footer(filesystem: Any, path: str) -> Footer:
    """Read one file's footer.

    Raises:
        BadRequest: Not Parquet, truncated, damaged or unreadable; the message names the file.
    """
    try:
        with open_binary(filesystem, path) as file:
            return footer_of(file, path)
    except (BadRequest, MemoryError):
        raise
    except Exception as error:
        # Whatever a file system or Arrow raises here, the person can only look at this file.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadRequest(
            f"input {path} cannot be read: {reason}; repair it or leave it out"
        ) from error


def footer_of(file: Any, path: str) -> Footer:
    """Read the footer of an open file; see `read_footer`."""
    size = file.seek(0, 2)
    file.seek(max(size - TAIL_BYTES, 0))
    tail = file.read(min(size, TAIL_BYTES))
    if tail[-4:] == b"PARE":
        raise BadRequest(f"input {path} is encrypted Parquet; give a file that is not encrypted")
    if tail[-4:] != MAGIC or size < 12:
        file.seek(0)
        if file.read(4) == MAGIC:
            raise BadRequest(f"input {path} is truncated Parquet; write it again or leave it out")
        raise BadRequest(
            f"input {path} is not a Parquet file; give Parquet, or begin other names with _ or ."
        )
    length = int.from_bytes(tail[-8:-4], "little")
    if length + 12 > size:
        raise BadRequest(f"input {path} is truncated Parquet; write it again or leave it out")
    if length + 8 > len(tail):
        file.seek(size - length - 8)
        tail = file.read(length + 8)
    footer = tail[-length - 8 :]
    metadata = pq.read_metadata(pa.BufferReader(MAGIC + footer))
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    return Footer(
        InputFile(
            path=path,
            size=size,
            footer=hashlib.sha256(footer).hexdigest(),
            groups=tuple(RowGroup(group.num_rows, group.total_byte_size) for group in groups),
        ),
        metadata,
        metadata.schema.to_arrow_schema(),
    )
