"""Tables that are more than the files in their folder: Delta, Iceberg and Hudi.

Their logs list the live files. Without the log, deleted rows would be read and paid for.
"""

import importlib
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from mayfly.models.errors import BadRequest

DELTA = "_delta_log"
_HUDI = ".hoodie"
_ICEBERG = re.compile(r"metadata/[^/]*\.metadata\.json(\.gz)?$")


class LiveFile(NamedTuple):
    """A data file that a table's log names.

    Attributes:
        path: Path in the file system.
        constants: Partition columns and their values.
        keep: For each row whether it still exists; None keeps all.
    """

    path: str
    constants: tuple[tuple[str, Any], ...]
    keep: Any = None


class Table(NamedTuple):
    """A table as its log describes it: live files in the order of their paths, and the schema."""

    files: tuple[LiveFile, ...]
    schema: Any


def marker_of(names: Iterable[str]) -> str | None:
    """Return the table format that the names in a folder indicate, or None.

    Args:
        names: Paths of files or folders, relative to the folder or not.
    """
    for name in names:
        parts = name.strip("/").split("/")
        if DELTA in parts:
            return "Delta"
        if _HUDI in parts:
            return "Hudi"
        if _ICEBERG.search(name):
            return "Iceberg"
    return None


def refuse_table(uri: str, kind: str) -> BadRequest:
    """Return the error for files of a table that would be read without its log."""
    if kind == "Delta":
        what = "give the folder of the table itself, so that its log says which files are live"
    else:
        what = "only its log says which files are live, and that is not read here; export the rows"
        what += " to Parquet and give that"
    return BadRequest(f"input {uri} is inside of, or holds, a {kind} table; {what}")


def open_delta(shown: str, real: str) -> Table:
    """Return the live files of a Delta table.

    Args:
        shown, real: Its URI, with masked and with real credentials.

    Raises:
        BadRequest: The package is missing, or the table uses an unsupported feature.
    """
    try:
        library: Any = importlib.import_module("deltalake")
    except ImportError:
        raise BadRequest(
            f"input {shown} is a Delta table, which needs a package: pip install 'mayfly[delta]'"
        ) from None
    try:
        table = library.DeltaTable(real)
        mapping = table.metadata().configuration.get("delta.columnMapping.mode", "none")
        found = _live_files(table) if mapping == "none" else None
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadRequest(f"input {shown} cannot be read as a Delta table: {reason}") from error
    if found is None:
        raise BadRequest(
            f"input {shown} is a Delta table with column mapping, which is not read here; "
            "write it as plain Parquet and give that"
        )
    return found


def _live_files(table: Any) -> Table:
    pa = importlib.import_module("pyarrow")
    root = str(table.table_uri).rstrip("/")
    schema = pa.schema(table.schema().to_arrow())
    actions = pa.table(table.get_add_actions(flatten=True))
    names = table.metadata().partition_columns
    kept = {}
    for batch in pa.RecordBatchReader.from_stream(table.deletion_vectors()):
        for path, keep in zip(*(column for column in batch.columns), strict=True):
            kept[_within(str(path), root)] = keep.values
    files = []
    for row in actions.to_pylist():
        path = _within(row["path"], root)
        constants = tuple((name, row.get(f"partition.{name}")) for name in names)
        files.append(LiveFile(path, constants, kept.pop(path, None)))
    if kept:
        raise ValueError(f"deletions of a file that does not exist: {next(iter(kept))}")
    return Table(tuple(sorted(files, key=lambda file: file.path)), schema)


def _within(path: str, root: str) -> str:
    """Return a path relative to the table, as the log has it."""
    plain = path.removeprefix("file://")
    for base in (root, root.removeprefix("file://")):
        if plain.startswith(base + "/"):
            return plain[len(base) + 1 :]
        if path.startswith(base + "/"):
            return path[len(base) + 1 :]
    return path
