"""Write a table of a Python process to Parquet as an input, named by its content."""

import hashlib
import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mayfly.models.errors import BadRequest
from mayfly.storage.atomic import make_folder

ROW_GROUP_ROWS = 65_536
"""Small enough to read a shard without its neighbours, large enough to compress."""


def keep_table(data: Any, folder: Path) -> Path:
    """Write a table to a Parquet file in a folder; return its path.

    The name is derived from the content, so that the same call resumes a run.

    Args:
        data: A pandas or polars DataFrame, a pyarrow Table, or any other object that exports Arrow
            data (`__arrow_c_stream__`).

    Raises:
        BadRequest: It is none of those, or has values without an Arrow type.
    """
    table = _table_of(data)
    make_folder(folder)
    new = folder / f".{uuid.uuid4().hex}.parquet"
    try:
        pq.write_table(table, new, row_group_size=ROW_GROUP_ROWS, compression="zstd")
        with new.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        path = folder / f"{digest[:32]}.parquet"
        new.replace(path)
    except (OSError, pa.ArrowException) as error:
        new.unlink(missing_ok=True)
        raise BadRequest(f"data cannot be written to {folder}: {error}") from error
    return path


def _table_of(data: Any) -> pa.Table:
    if isinstance(data, pa.Table):
        return data
    home = type(data).__module__.partition(".")[0]
    try:
        if home == "pandas":
            # Its Arrow stream would leave the index out.
            return pa.Table.from_pandas(data)
        if hasattr(data, "__arrow_c_stream__"):
            return pa.table(data)
    except (pa.ArrowException, TypeError, ValueError) as error:
        reason = " ".join(str(part) for part in error.args)
        raise BadRequest(f"data cannot be made a table: {reason}") from error
    raise BadRequest(
        f"data is a {type(data).__name__}; give a path or URI, a pandas or polars DataFrame, or a "
        "pyarrow Table"
    )
