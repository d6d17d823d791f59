"""Small Parquet inputs with ids and texts."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mayfly.storage.dataset import Dataset


def write(path: Path, rows: int, *, first: int = 0, group: int = 10, **columns: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    ids = range(first, first + rows)
    table = pa.table({"id": pa.array(ids), "text": [f"row {i}" for i in ids], **columns})
    pq.write_table(table, path, row_group_size=group)
    return path


def ids(dataset: Dataset) -> list[object]:
    chunks = dataset.read(0, dataset.rows, ["id"])
    return [value for chunk in chunks for value in chunk.columns["id"]]
