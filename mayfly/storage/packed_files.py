"""Copy many small files into one before anything is rented.

Opening a file takes about a millisecond, twice per run: thousands of small files would keep an
endpoint waiting for seconds. The description of the input refers to the original files; only rows
are read from the copy.
"""

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mayfly.models.errors import BadRequest, MayflyError, TerminalError
from mayfly.storage.atomic import make_folder, move_into_place, temporary_beside
from mayfly.storage.dataset import Dataset
from mayfly.storage.footer import InputFile, read_footer

MIN_FILES = 65
SMALL_BYTES = 256 * 2**10
"""Maximum average size of small files."""

MAX_BYTES = 2**30
"""Maximum total size that is copied."""

GROUP_ROWS = 65_536
GROUP_BYTES = 16 * 2**20


def packed(dataset: Dataset, folder: Path) -> Dataset:
    """Return the dataset, read from one file if it has many small ones.

    Args:
        folder: Folder of the copy; an existing copy is used.

    Raises:
        BadRequest: A file cannot be read.
        TerminalError: The copy cannot be written.
    """
    size = sum(file.size for file in dataset.files)
    count = len({file.path for file in dataset.files})
    if count < MIN_FILES or size > min(count * SMALL_BYTES, MAX_BYTES):
        return dataset
    path = folder / f"{dataset.fingerprint[:32]}.parquet"
    whole = replace(dataset, limit=None)
    found = _found(path, whole)
    if found is None:
        _make(whole, path)
        found = _found(path, whole)
    return dataset if found is None else replace(dataset, packed=found)


def _found(path: Path, dataset: Dataset) -> tuple[InputFile, ...] | None:
    if not path.is_file():
        return None
    try:
        footer = read_footer(str(path))
    except BadRequest:
        return None
    return (footer.file,) if footer.file.rows == dataset.rows else None


def _make(dataset: Dataset, path: Path) -> None:
    temporary = temporary_beside(path)
    try:
        make_folder(path.parent)
        with pq.ParquetWriter(
            temporary, dataset.schema, compression="zstd", compression_level=1
        ) as writer:
            held: list[pa.RecordBatch] = []
            for batch in dataset.arrow_batches(0, dataset.rows):
                held.append(batch)
                if _is_full(held):
                    _flush(writer, held)
            _flush(writer, held)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        move_into_place(temporary, path)
    except MayflyError as error:
        raise BadRequest(str(error)) from error
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        free = shutil.disk_usage(path.parent).free if path.parent.is_dir() else 0
        raise TerminalError(
            f"input {dataset.uri} cannot be copied to {path.parent}: {reason} ({free / 1e6:,.0f} "
            "MB free); free some disk space and run the same command again"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _is_full(held: Sequence[pa.RecordBatch]) -> bool:
    if len(held) % 64:  # Checking the size after every batch would take too long.
        return False
    rows = sum(batch.num_rows for batch in held)
    return rows >= GROUP_ROWS or sum(int(batch.nbytes) for batch in held) >= GROUP_BYTES


def _flush(writer: pq.ParquetWriter, held: list[pa.RecordBatch]) -> None:
    if held:
        table = pa.Table.from_batches(held)
        writer.write_table(table.combine_chunks(), row_group_size=max(table.num_rows, 1))
        held.clear()
