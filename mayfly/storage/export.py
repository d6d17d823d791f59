"""Export an output to one file: OpenAI-batch results, JSON lines, CSV or Parquet."""

import base64
import csv
import os
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from mayfly.models.errors import BadRequest, TerminalError
from mayfly.storage.atomic import move_into_place, temporary_beside
from mayfly.storage.batch_results import BatchResults
from mayfly.storage.cells import UnreadableCell, cell_values
from mayfly.storage.part_batches import Batch
from mayfly.storage.unified_types import fitted, is_json

Format = Literal["openai-batch", "jsonl", "csv", "parquet"]

SUFFIXES: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".parquet": "parquet",
}


class Exported(NamedTuple):
    """The result of an export.

    Attributes:
        errors: Rows with an error.
        error_file: File of the rows with an error, if the format separates them and there are any.
    """

    rows: int
    errors: int
    file: Path
    error_file: Path | None


class _Writer(Protocol):
    def write(self, batch: Batch) -> None:
        """Append some rows."""

    def close(self) -> None:
        """Finish the file."""


def format_of(file: Path, given: Format | None) -> Format:
    """Return the given format, or the one that the file's suffix implies.

    Raises:
        BadRequest: The suffix is unknown.
    """
    found = given or SUFFIXES.get(file.suffix.lower())
    if found is None:
        raise BadRequest(
            f"--to {file}: unknown file suffix; add --format openai-batch, jsonl, csv or parquet"
        )
    return found


def export(
    batches: Iterable[Batch], file: Path, kind: Format, *, folder: Path, results: BatchResults
) -> Exported:
    """Write rows to a file, atomically.

    Args:
        folder: The output that the rows come from.
        results: Builds OpenAI-batch lines.

    Raises:
        BadRequest: The file is inside the output, or cannot be created.
        TerminalError: The file cannot be written, or a part is damaged.
    """
    _check(file, folder)
    error_file = file.with_name(f"{file.stem}.errors{file.suffix}")
    temporary, temporary_errors = temporary_beside(file), temporary_beside(error_file)
    rows = errors = 0
    try:
        with ExitStack() as stack:
            writer: _Writer
            if kind == "openai-batch":
                writer = _BatchFiles(temporary, temporary_errors, results)
            else:
                writer = _WRITERS[kind](temporary)
            stack.callback(writer.close)
            for batch in batches:
                writer.write(batch)
                rows += batch.table.num_rows
                column = batch.table.column(batch.table.schema.names.index("error"))
                errors += len(column) - column.null_count
        apart = kind == "openai-batch" and errors > 0
        move_into_place(temporary, file)
        if apart:
            move_into_place(temporary_errors, error_file)
        elif kind == "openai-batch":
            # Remove the error file of an earlier export.
            error_file.unlink(missing_ok=True)
    except OSError as error:
        raise TerminalError(
            f"--to {file} cannot be written: {error.strerror or error}; "
            "free some disk space or give another file"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
        temporary_errors.unlink(missing_ok=True)
    return Exported(rows, errors, file, error_file if apart else None)


def _check(file: Path, folder: Path) -> None:
    parent = file.absolute().parent
    if file.is_dir():
        raise BadRequest(f"--to {file} is a folder; give a file")
    if not parent.is_dir():
        raise BadRequest(f"--to {file}: {parent} does not exist; create it or give another file")
    if not os.access(parent, os.W_OK):
        raise BadRequest(f"--to {file}: no permission to write in {parent}; give another file")
    inside = Path(os.path.realpath(parent))
    if Path(os.path.realpath(folder)) in (inside, *inside.parents):
        raise BadRequest(f"--to {file} is in the output itself; give a file outside of {folder}")


class _Parquet:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: pq.ParquetWriter | None = None
        self._schema: pa.Schema | None = None

    def write(self, batch: Batch) -> None:
        if self._writer is None or self._schema is None:
            self._schema = batch.table.schema
            self._writer = pq.ParquetWriter(self._path, self._schema, compression="zstd")
        # All parts have the same schema, but the order of its metadata may differ.
        self._writer.write_batch(fitted(batch.table, self._schema))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        else:
            pq.write_table(pa.table({}), self._path)


class _JsonLines:
    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")

    def write(self, batch: Batch) -> None:
        for row in rows_of(batch.table):
            self._file.write(dumps(row) + b"\n")

    def close(self) -> None:
        self._file.close()


class _Csv:
    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8", newline="", errors="surrogateescape")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._begun = False

    def write(self, batch: Batch) -> None:
        names = batch.table.schema.names
        if not self._begun:
            self._writer.writerow(names)
            self._begun = True
        for row in rows_of(batch.table):
            self._writer.writerow([_field(row[name]) for name in names])

    def close(self) -> None:
        self._file.close()


class _BatchFiles:
    def __init__(self, path: Path, errors: Path, results: BatchResults) -> None:
        self._file, self._errors = path.open("wb"), errors.open("wb")
        self._results = results

    def write(self, batch: Batch) -> None:
        for number, row in zip(batch.rows, rows_of(batch.table), strict=True):
            file = self._file if row["error"] is None else self._errors
            file.write(dumps(self._results.line(number, row)) + b"\n")

    def close(self) -> None:
        self._file.close()
        self._errors.close()


_WRITERS: dict[str, type[_Parquet | _JsonLines | _Csv]] = {
    "parquet": _Parquet,
    "jsonl": _JsonLines,
    "csv": _Csv,
}


def rows_of(table: pa.RecordBatch) -> Iterable[dict[str, Any]]:
    """Yield rows as Python values; invalid UTF-8 is replaced by U+FFFD."""
    columns = []
    for field, column in zip(table.schema, table.columns, strict=True):
        values = cell_values(column)
        if any(type(value) is UnreadableCell for value in values):
            values = _readable(column)
        if is_json(field):
            values = [v if v is None else orjson.Fragment(v) for v in values]
        columns.append(values)
    names = table.schema.names
    for cells in zip(*columns, strict=True):
        yield dict(zip(names, cells, strict=True))


def _readable(column: pa.Array) -> list[Any]:
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        raw = column.view(
            pa.binary() if pa.types.is_string(column.type) else pa.large_binary()
        ).to_pylist()
        return [None if one is None else one.decode("utf-8", "replace") for one in raw]
    shown = [None if type(v) is UnreadableCell else v for v in cell_values(column)]
    texts = column.cast(pa.string(), safe=False) if pa.types.is_temporal(column.type) else None
    return shown if texts is None else texts.to_pylist()


def dumps(value: Any) -> bytes:
    """Return a value as JSON: bytes as base64, types without a JSON form as text."""
    options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    return orjson.dumps(value, default=_plain, option=options)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(bytes(value)).decode()
    return str(value)


def _field(value: Any) -> Any:
    if isinstance(value, orjson.Fragment) or type(value) in (list, dict, bool):
        return dumps(value).decode()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return "" if value is None else value
