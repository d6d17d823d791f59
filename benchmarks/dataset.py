"""Reproducible inputs of any size."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

_TEXT = (
    "Ticket {number}: the parcel was due on Monday and has not come. I rang twice, waited an hour "
    "in all, and nobody could say where it is. The tracking page still shows the depot of last "
    "week. Please tell me by tomorrow when it comes, or take it back and return the money with the "
    "postage; the order is {number}-{half}. If it has been lost, say so, and I will buy it "
    "elsewhere. Sort this message into one of: delivery, billing, product, other."
)


def write_input(path: Path, rows: int, *, prompt_bytes: int = 0, group_rows: int = 20_000) -> Path:
    """Write rows of an id and a prompt of some 420 characters (or more), and return the path."""
    schema = pa.schema([("id", pa.int64()), ("prompt", pa.string())])
    filler = "x" * max(prompt_bytes - 420, 0)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for first in range(0, rows, group_rows):
            ids = range(first, min(first + group_rows, rows))
            prompts = [_TEXT.format(number=row, half=row // 2) + filler for row in ids]
            writer.write_table(
                pa.table({"id": list(ids), "prompt": prompts}, schema=schema),
                row_group_size=group_rows,
            )
    return path
