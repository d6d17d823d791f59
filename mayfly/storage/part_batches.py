"""Read part files back as batches of rows; errors name the file."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from mayfly.models.errors import TerminalError
from mayfly.models.rows import Answer
from mayfly.models.shards import Shard
from mayfly.storage.dataset import Dataset
from mayfly.storage.output_columns import OutputColumns
from mayfly.storage.unified_types import text_dictionaries
from mayfly.storage.work_folder import part_elsewhere

BATCH_ROWS = 1024


class Batch(NamedTuple):
    """Some rows of an output.

    Attributes:
        rows: Their positions in the input.
        table: Their columns.
    """

    rows: list[int]
    table: pa.RecordBatch


@contextmanager
def opened_part(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a part file for reading; by ranges, where an object store has it and this machine not.

    Raises:
        TerminalError: It is damaged; may also be raised while it is read; the message names it.
    """
    try:
        elsewhere = None if path.exists() else part_elsewhere(path)
        source = elsewhere or path
        metadata = pq.read_metadata(source)
        coded = text_dictionaries(metadata.schema.to_arrow_schema())
        with pq.ParquetFile(
            source, metadata=metadata, arrow_extensions_enabled=True, read_dictionary=coded
        ) as parquet:
            yield parquet
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # Arrow's own errors have no errno.
        reason = " ".join(str(error).split())
        raise TerminalError(
            f"part {path} is damaged ({reason}); remove it and run the same command again, which "
            "sends its rows again"
        ) from error


def of_part(path: Path, first_row: int) -> Iterator[Batch]:
    """Yield the rows of a part file.

    Raises:
        TerminalError: It is damaged; the message names it.
    """
    at = first_row
    with opened_part(path) as parquet:
        for table in parquet.iter_batches(batch_size=BATCH_ROWS, use_threads=False):
            yield Batch(list(range(at, at + table.num_rows)), table)
            at += table.num_rows


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


def table_of(batches: Iterator[Batch]) -> pa.Table | None:
    """Return batches as one table in memory; None if there are no rows."""
    tables = [pa.Table.from_batches([batch.table]) for batch in batches]
    # A dictionary column has a separate dictionary in each part.
    return pa.concat_tables(tables).unify_dictionaries() if tables else None
