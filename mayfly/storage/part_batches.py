"""The rows of an output in batches: input columns and answers side by side."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from mayfly.models.errors import TerminalError
from mayfly.models.rows import Answer
from mayfly.models.shards import Shard
from mayfly.storage.dataset import Dataset
from mayfly.storage.output_columns import OutputColumns

BATCH_ROWS = 1024


class Batch(NamedTuple):
    """Some rows of an output.

    Attributes:
        rows: Their positions in the input.
        table: Their columns.
    """

    rows: list[int]
    table: pa.RecordBatch


def of_part(path: Path, first_row: int) -> Iterator[Batch]:
    """Yield the rows of a part file.

    Raises:
        TerminalError: It is damaged; the message names it.
    """
    at = first_row
    try:
        with pq.ParquetFile(path, arrow_extensions_enabled=True) as parquet:
            for table in parquet.iter_batches(batch_size=BATCH_ROWS, use_threads=False):
                yield Batch(list(range(at, at + table.num_rows)), table)
                at += table.num_rows
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise TerminalError(
            f"part {path} is damaged ({reason}); remove it and run the same command again"
        ) from error


def of_journal(
    dataset: Dataset, columns: OutputColumns, shard: Shard, answers: Mapping[int, Answer]
) -> Iterator[Batch]:
    """Yield the rows of a shard that have an answer in its journal."""
    at = shard.first_row
    schema = pa.schema([*dataset.schema, *columns.fields], metadata=dataset.schema.metadata)
    for table in dataset.arrow_batches(shard.first_row, shard.rows):
        rows = [row for row in range(at, at + table.num_rows) if row in answers]
        if rows:
            taken = table.take(pa.array([row - at for row in rows]))
            arrays = [*taken.columns, *columns.arrays([answers[row] for row in rows])]
            yield Batch(rows, pa.RecordBatch.from_arrays(arrays, schema=schema))
        at += table.num_rows
