"""Copy files without random access to Parquet, once per run.

JSON lines, CSV, Arrow streams and files that are compressed as a whole cannot be read from a given
row. A copy is a folder of Parquet files with a description of its source. It is created atomically,
created again if the source has changed, and may be removed between runs.
"""

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import pyarrow as pa
import pyarrow.parquet as pq

from mayfly.models.batch_lines import BatchLines
from mayfly.models.errors import BadRequest, TerminalError
from mayfly.storage.atomic import make_folder, sync_folder, temporary_beside
from mayfly.storage.csv_text import (
    BLOCK_BYTES,
    LARGE_BLOCK_BYTES,
    RecordTooLong,
    csv_batches,
)
from mayfly.storage.formats import ARROW, CSV, JSON_LINES, Kind
from mayfly.storage.json_lines import BatchRequests, json_batches
from mayfly.storage.unified_types import Mixed, TypesDiffer, fitted, merged

VERSION = 2
"""Version of the format of a copy; copies of another version are made again."""

GROUP_ROWS = 65_536
GROUP_BYTES = 16 * 2**20
PIECE = 2**20

MIXED: dict[str, Mixed] = {JSON_LINES: "json", CSV: "text"}
"""How values of several types are unified, by the format of the source."""


class Source(NamedTuple):
    """A file to copy.

    Attributes:
        shown: Name in messages.
        stamp: Identifies its content without reading it: size and time, or an ETag.
        open: Opens it for sequential reading.
        keep: For each row whether it is copied; None copies all.
    """

    shown: str
    kind: Kind
    stamp: str
    open: Callable[[], AbstractContextManager[BinaryIO]]
    keep: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """The copy of a source.

    Attributes:
        parts: Parquet files in the order of their rows.
        content: SHA-256 (hex) of the source's bytes.
        rows, bytes: Of the source.
        fresh: Whether it was created just now.
        requests: Properties of its lines if they are OpenAI-batch requests.
    """

    parts: tuple[Path, ...]
    content: str
    rows: int
    bytes: int
    fresh: bool
    requests: BatchLines | None


def copied(source: Source, folder: Path, begins: Callable[[], object] = lambda: None) -> Copy:
    """Return the copy of a source, after creating it if there is none of this content.

    Args:
        begins: Called before a copy is created.

    Raises:
        BadRequest: The source is not of the format that its name says.
        TerminalError: The copy cannot be written.
    """
    home = folder / hashlib.sha256(source.shown.encode()).hexdigest()[:24]
    if (found := _found(home, source)) is not None:
        return found
    begins()
    temporary = temporary_beside(home)
    try:
        make_folder(folder)
        _remove_leftovers(home)
        try:
            temporary.mkdir()
            _make(source, temporary)
        except RecordTooLong:
            shutil.rmtree(temporary)
            temporary.mkdir()
            _make(source, temporary, LARGE_BLOCK_BYTES)
        sync_folder(temporary)
        if home.exists():
            shutil.rmtree(home)
        temporary.replace(home)
        sync_folder(folder)
    except BadRequest:
        raise
    except RecordTooLong as error:
        most = f"a record is longer than {LARGE_BLOCK_BYTES / 2**20:.0f} MiB, or a quote has no end"
        raise _cannot(source, error, most) from error
    except TypesDiffer as error:
        raise _cannot(source, error, f"its batches have {error}") from error
    except (OSError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise _cannot(source, error, reason) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    made = _found(home, source)
    assert made is not None  # noqa: S101 - it has just been written
    return replace(made, fresh=True)


def _remove_leftovers(home: Path) -> None:
    """Remove temporary folders of processes that died; see `temporary_beside`."""
    for left in home.parent.glob(f".{home.name}.*.tmp"):
        try:
            os.kill(int(left.suffixes[-2].lstrip(".").partition("-")[0]), 0)
        except (ProcessLookupError, OverflowError, ValueError, IndexError):
            shutil.rmtree(left, ignore_errors=True)
        except PermissionError:
            pass


def _cannot(source: Source, error: Exception, reason: str) -> Exception:
    full = isinstance(error, OSError) and error.errno is not None
    if full:
        return TerminalError(
            f"input {source.shown} cannot be copied to Parquet: {reason}; "
            "free some disk space and run the same command again"
        )
    return BadRequest(f"input {source.shown} cannot be read: {reason}; repair it or leave it out")


def _found(home: Path, source: Source) -> Copy | None:
    try:
        note = json.loads((home / "source.json").read_text())
        if note["version"] != VERSION or note["keep"] != _keep_digest(source):
            return None
        if note["stamp"] != source.stamp:
            # A copied or touched file is unchanged if its bytes are.
            if note["content"] != _digest(source):
                return None
            note["stamp"] = source.stamp
            (home / "source.json").write_text(json.dumps(note))
        parts = tuple(home / name for name in note["parts"])
        if not all(part.is_file() for part in parts):
            return None
        requests = note["requests"]
        return Copy(
            parts=parts,
            content=note["content"],
            rows=note["rows"],
            bytes=note["bytes"],
            fresh=False,
            requests=None if requests is None else BatchLines(*_tuples(requests)),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _tuples(values: list[Any]) -> list[Any]:
    return [tuple(value) if isinstance(value, list) else value for value in values]


def _digest(source: Source) -> str:
    with source.open() as stream:
        digest = hashlib.sha256()
        while piece := stream.read(PIECE):
            digest.update(piece)
        return digest.hexdigest()


def _keep_digest(source: Source) -> str:
    if source.keep is None:
        return ""
    return hashlib.sha256(bytes(bytearray(source.keep.to_pylist()))).hexdigest()


def _make(source: Source, folder: Path, block_bytes: int = BLOCK_BYTES) -> None:
    requests = BatchRequests()
    with source.open() as opened:
        counted = _Counted(opened)
        stream: Any = counted
        if source.kind.compression is not None:
            stream = pa.CompressedInputStream(
                pa.PythonFile(counted, mode="r"), source.kind.compression
            )
        if source.kind.format == CSV:
            batches = csv_batches(cast("BinaryIO", stream), source.shown, block_bytes)
        else:
            batches = _batches(source, stream, folder, requests)
        with _Parts(folder, MIXED.get(source.kind.format)) as parts:
            for batch in _kept(batches, source.keep):
                parts.add(batch)
        while counted.read(PIECE):  # Include bytes that the decoder did not read in the digest.
            pass
    note = {
        "version": VERSION,
        "source": source.shown,
        "stamp": source.stamp,
        "keep": _keep_digest(source),
        "content": counted.digest.hexdigest(),
        "bytes": counted.bytes,
        "rows": parts.rows,
        "parts": parts.names,
        "requests": requests.lines,
    }
    (folder / "source.json").write_text(json.dumps(note))


def _batches(
    source: Source, stream: Any, folder: Path, requests: BatchRequests
) -> Iterator[pa.RecordBatch]:
    if source.kind.format == JSON_LINES:
        return json_batches(cast("BinaryIO", stream), source.shown, requests)
    if source.kind.format == ARROW:
        return _arrow_batches(source, stream, folder)
    return _parquet_batches(stream, folder)


def _arrow_batches(source: Source, stream: Any, folder: Path) -> Iterator[pa.RecordBatch]:
    start = stream.read(8)
    if start[:4] == b"FEA1":
        raise BadRequest(
            f"input {source.shown} is Feather version 1; write it as version 2 or Parquet"
        )
    if start[:6] != b"ARROW1":
        yield from pa.ipc.open_stream(pa.PythonFile(_Rest(start, stream), mode="r"))
        return
    # The footer is at the end, so the whole file is needed first.
    spooled = _spooled(_Rest(start, stream), folder)
    with pa.memory_map(str(spooled)) as file:
        reader = pa.ipc.open_file(file)
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number)
    spooled.unlink()


def _parquet_batches(stream: Any, folder: Path) -> Iterator[pa.RecordBatch]:
    spooled = _spooled(stream, folder)
    with pq.ParquetFile(spooled, buffer_size=PIECE, pre_buffer=False) as file:
        yield from file.iter_batches(batch_size=4096, use_threads=False)
    spooled.unlink()


def _spooled(stream: Any, folder: Path) -> Path:
    path = folder / "spool"
    with path.open("wb") as file:
        while piece := stream.read(PIECE):
            file.write(piece)
    return path


def _kept(batches: Iterator[pa.RecordBatch], keep: Any) -> Iterator[pa.RecordBatch]:
    at = 0
    for batch in batches:
        if keep is None:
            yield batch
            continue
        yield batch.filter(pa.array(keep[at : at + batch.num_rows]))
        at += batch.num_rows


class _Parts:
    """Writes batches as Parquet files; starts a new file when the schema widens.

    Attributes:
        names: Names of the files.
        rows: Rows written so far.
    """

    def __init__(self, folder: Path, mixed: Mixed) -> None:
        self.names: list[str] = []
        self.rows = 0
        self._folder = folder
        self._mixed = mixed
        self._held: list[pa.RecordBatch] = []
        self._held_bytes = 0
        self._writer: pq.ParquetWriter | None = None
        self._schema: pa.Schema | None = None

    def add(self, batch: pa.RecordBatch) -> None:
        for start in range(0, batch.num_rows, GROUP_ROWS):
            piece = batch.slice(start, GROUP_ROWS)
            self._held.append(piece)
            self._held_bytes += piece.nbytes
            rows = sum(held.num_rows for held in self._held)
            if rows >= GROUP_ROWS or self._held_bytes >= GROUP_BYTES:
                self._flush()

    def __enter__(self) -> "_Parts":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._flush()
        self._close()

    def _flush(self) -> None:
        if not self._held:
            return
        schema = self._schema
        for batch in self._held:
            schema = batch.schema if schema is None else merged(schema, batch.schema, self._mixed)
        assert schema is not None  # noqa: S101 - there was a batch
        if self._writer is None or schema != self._schema:
            self._close()
            self._schema = schema
            self.names.append(f"{len(self.names):04d}.parquet")
            self._writer = pq.ParquetWriter(
                self._folder / self.names[-1], schema, compression="zstd", compression_level=1
            )
        table = pa.Table.from_batches([fitted(batch, schema) for batch in self._held], schema)
        self._writer.write_table(table, row_group_size=max(table.num_rows, 1))
        self.rows += table.num_rows
        self._held, self._held_bytes = [], 0

    def _close(self) -> None:
        if self._writer is None:
            return
        self._writer.close()
        self._writer = None
        with (self._folder / self.names[-1]).open("rb") as file:
            os.fsync(file.fileno())


class _Counted(io.RawIOBase):
    """A stream that hashes and counts the bytes read."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()
        self.bytes = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self.digest.update(data)
        self.bytes += len(data)
        return data


class _Rest(io.RawIOBase):
    """A stream that starts with bytes already read."""

    def __init__(self, start: bytes, stream: Any) -> None:
        self._start = start
        self._stream = stream

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if self._start:
            data, self._start = self._start[:size], self._start[size:]
            return data
        return bytes(self._stream.read(size))
