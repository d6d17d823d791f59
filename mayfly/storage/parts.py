"""Part files: a shard's input columns and answers, written atomically."""

import json
import os
from collections import Counter
from collections.abc import Mapping
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from mayfly.models.errors import BadRequest, TerminalError
from mayfly.models.rows import Answer, Tally
from mayfly.models.shards import Shard
from mayfly.storage.atomic import make_folder, move_into_place, temporary_beside
from mayfly.storage.dataset import Dataset
from mayfly.storage.journal_index import Answers
from mayfly.storage.output_columns import CHAT, OutputColumns
from mayfly.storage.part_batches import opened_part
from mayfly.storage.run_paths import RunPaths

GROUP_ROWS = 50_000
GROUP_BYTES = 16 * 2**20
"""Maximum size of a part's row group: whichever is reached first, in rows or bytes in memory."""

_FINGERPRINT, _SHARD, _TALLY = b"mayfly.fingerprint", b"mayfly.shard", b"mayfly.tally"
_DROPPED = b"mayfly.dropped"

_dropped_of = attrgetter("dropped")


class PartLabel(NamedTuple):
    """Metadata of a part, in its footer.

    Attributes:
        dropped: Number of replies with a field that has no column, by its name.
    """

    fingerprint: str
    shard: Shard
    tally: Tally
    dropped: Mapping[str, int]


def check_columns(dataset: Dataset, columns: OutputColumns = CHAT) -> None:
    """Reject an input with a column that has the name of an output column.

    Raises:
        BadRequest: There are such columns; the message names them.
    """
    needed = {field.name for field in columns.fields}
    if taken := [name for name in dataset.columns if name in needed]:
        names = ", ".join(map(repr, taken))
        raise BadRequest(
            f"input {dataset.uri} has {names}, which is the name of an output column; "
            "rename it in the input"
        )


def warm_up() -> None:
    """Import what writing the first part needs: pyarrow imports pandas with the first array.

    It does so only if pandas is installed. That takes a second or more, which costs nothing while
    the endpoint starts, but money later.
    """
    pa.array([""], pa.string())


def write_part(
    folder: Path,
    shard: Shard,
    dataset: Dataset,
    answers: Mapping[int, Answer],
    *,
    fingerprint: str,
    columns: OutputColumns = CHAT,
) -> Tally:
    """Write and commit a shard's part file, replacing an earlier one; return its totals.

    The input is read again in batches; at most a row group of about 16 MiB is held. On return the
    part survives a power failure; if this raises, no part was written.

    Args:
        answers: By row; one for every row of the shard.
        columns: The output columns.

    Raises:
        TerminalError: A row has no answer, or the file cannot be written.
    """
    paths = RunPaths(folder)
    make_folder(paths.kept)
    path = paths.part(shard.index)
    temporary = temporary_beside(paths.kept / path.name)
    # Answers from an earlier part of this shard have no record of their dropped fields.
    label = part_label(path)
    earlier = {} if label is None or label.fingerprint != fingerprint else label.dropped
    try:
        tally = _write(
            temporary, shard, dataset, answers, earlier, fingerprint=fingerprint, columns=columns
        )
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        move_into_place(temporary, path)
    except (OSError, pa.ArrowException) as error:
        temporary.unlink(missing_ok=True)
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise TerminalError(
            f"part {path} cannot be written: {reason}; "
            "free some disk space and run the same command again"
        ) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return tally


def _write(
    path: Path,
    shard: Shard,
    dataset: Dataset,
    answers: Mapping[int, Answer],
    earlier: Mapping[str, int],
    *,
    fingerprint: str,
    columns: OutputColumns,
) -> Tally:
    metadata = {
        **(dataset.schema.metadata or {}),
        _FINGERPRINT: fingerprint.encode(),
        _SHARD: json.dumps([shard.index, shard.first_row, shard.rows]).encode(),
    }
    schema = pa.schema([*dataset.schema, *columns.fields], metadata=metadata)
    coded = [name for name in schema.names if name not in columns.unlike]
    tally = Tally()
    dropped = Counter(earlier)
    at = shard.first_row
    batches: list[pa.RecordBatch] = []
    held = 0
    with pq.ParquetWriter(
        path, schema, compression="zstd", use_dictionary=coded, write_statistics=coded
    ) as writer:

        def flush() -> None:
            table = pa.Table.from_batches(batches, schema)
            writer.write_table(table, row_group_size=max(table.num_rows, 1))
            batches.clear()

        for batch in dataset.arrow_batches(shard.first_row, shard.rows):
            found = _answers(answers, at, batch.num_rows)
            tally = tally.with_all(found)
            for names in filter(None, map(_dropped_of, found)):
                dropped.update(names.split(","))
            whole = pa.RecordBatch.from_arrays(
                [*batch.columns, *columns.arrays(found)], schema=schema
            )
            if batches and held + whole.nbytes > GROUP_BYTES:
                flush()
                held = 0
            batches.append(whole)
            held += whole.nbytes
            at += batch.num_rows
        flush()
        writer.add_key_value_metadata(
            {_TALLY.decode(): json.dumps(tally), _DROPPED.decode(): json.dumps(dropped)}
        )
    return tally


def _answers(answers: Mapping[int, Answer], first_row: int, rows: int) -> list[Answer]:
    try:
        if isinstance(answers, Answers):
            return answers.of_rows(first_row, rows)
        return [answers[row] for row in range(first_row, first_row + rows)]
    except KeyError as error:
        raise TerminalError(
            f"row {error.args[0]} has no answer, so its part is not written; "
            "run the same command again"
        ) from None


def part_label(path: Path) -> PartLabel | None:
    """Return the metadata of a part; None if there is no file, or it is incomplete."""
    try:
        return label_of(pq.read_metadata(path))
    except (OSError, pa.ArrowException):
        return None


def label_of(metadata: pq.FileMetaData) -> PartLabel | None:
    """Return what a footer says of its part; None for that of another file."""
    try:
        kept = metadata.metadata or {}
        index, first_row, rows = json.loads(kept[_SHARD])
        label = PartLabel(
            kept[_FINGERPRINT].decode(),
            Shard(index=index, first_row=first_row, rows=rows),
            Tally(*json.loads(kept[_TALLY])),
            dict(json.loads(kept.get(_DROPPED, b"{}"))),
        )
    except (KeyError, TypeError, ValueError):
        return None
    return label if metadata.num_rows == rows else None


def part_is_done(path: Path, shard: Shard, fingerprint: str) -> bool:
    """Whether a file is the committed part of this shard of this job."""
    label = part_label(path)
    return label is not None and (label.fingerprint, label.shard) == (fingerprint, shard)


def read_answers(path: Path, columns: OutputColumns = CHAT) -> dict[int, Answer]:
    """Return the answers of a committed part by row.

    Args:
        columns: The output columns of the part.

    Raises:
        TerminalError: The file is not a complete part.
    """
    label = part_label(path)
    if label is None:
        raise TerminalError(f"part {path} is damaged; remove it and run the same command again")
    answers: dict[int, Answer] = {}
    row = label.shard.first_row
    with opened_part(path) as parquet:
        names = columns.stored(parquet.schema_arrow.names)
        for batch in parquet.iter_batches(batch_size=4096, columns=names):
            answers |= {answer.row: answer for answer in columns.answers(batch, row)}
            row += batch.num_rows
    return answers
