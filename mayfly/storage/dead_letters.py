"""Dead letters: `DIR/_mayfly/dead_letters.parquet`, one row for each input row with an error.

The file is derived from the parts, for inspecting errors. It is replaced atomically; the dead
letters of unchanged shards are copied.
"""

import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from mayfly.models.errors import TerminalError
from mayfly.models.failures import Failure
from mayfly.storage.atomic import move_into_place, temporary_beside
from mayfly.storage.part_batches import opened_part
from mayfly.storage.parts import part_label

SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64()),
        pa.field("class", pa.string()),
        pa.field("status", pa.int32()),
        pa.field("code", pa.string()),
        pa.field("attempts", pa.int32()),
        pa.field("message", pa.string()),
        pa.field("digest", pa.string()),
    ]
)
"""`row` is the position in the input, `class` one of `mayfly.models.failures`, `digest` the SHA-256
(hex) of the request's body with the model's own name; null where no request could be made."""

_SHARDS = b"mayfly.shards"


class Failed(NamedTuple):
    """A row with an error."""

    row: int
    failure: Failure


Digests = Callable[[Collection[int]], Mapping[int, str]]
"""Returns the digests of the requests of rows; a row without a request has none."""


def failed_rows(part: Path) -> Iterator[Failed]:
    """Yield the rows of a part that have an error; nothing for an incomplete part."""
    label = part_label(part)
    if label is None or not label.tally.failed:
        return
    row = label.shard.first_row
    with opened_part(part) as parquet:
        for batch in parquet.iter_batches(batch_size=65_536, columns=["error"]):
            for offset, text in enumerate(batch.column(0).to_pylist()):
                if text is not None:
                    yield Failed(row + offset, Failure.parse(text))
            row += batch.num_rows


def dead_letter_counts(path: Path) -> dict[int, int]:
    """Return the number of dead letters in a file by shard index; empty if there is no file.

    It is empty too for a file with other columns, of another version: nothing is copied from it.
    """
    try:
        found = pq.read_metadata(path)
        if found.schema.names != SCHEMA.names:
            return {}
        metadata = found.metadata or {}
        return {int(index): count for index, count in json.loads(metadata[_SHARDS]).items()}
    except (OSError, pa.ArrowException, KeyError, ValueError, AttributeError):
        return {}


def write_dead_letters(
    path: Path, parts: Mapping[int, Path], stale: Iterable[int], digests: Digests
) -> None:
    """Replace the file: read the parts of stale shards, and copy the others' dead letters.

    Args:
        parts: Parts of all shards that have rows with an error, by index.
        stale: Shards with dead letters that the file does not have in their current form.

    Raises:
        TerminalError: The file cannot be written; the old file is kept.
    """
    if not parts:
        path.unlink(missing_ok=True)
        return
    earlier = dead_letter_counts(path)
    groups = {index: group for group, index in enumerate(sorted(earlier))}
    changed = set(stale)
    counts: dict[int, int] = {}
    temporary = temporary_beside(path)
    try:
        with ExitStack() as stack:
            old = stack.enter_context(pq.ParquetFile(path)) if earlier else None
            with pq.ParquetWriter(temporary, SCHEMA, compression="zstd") as writer:
                for index in sorted(parts):
                    if old is not None and index in groups and index not in changed:
                        table = old.read_row_group(groups[index])
                    else:
                        table = _table(list(failed_rows(parts[index])), digests)
                    if table.num_rows:
                        counts[index] = table.num_rows
                        writer.write_table(table, row_group_size=table.num_rows)
                writer.add_key_value_metadata({_SHARDS.decode(): json.dumps(counts)})
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        move_into_place(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise TerminalError(
            f"{path} cannot be written: {error.strerror}; "
            "free some disk space and run the same command again"
        ) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _table(failed: list[Failed], digests: Digests) -> pa.Table:
    known = digests([row for row, _ in failed])
    columns: dict[str, list[object]] = {
        "row": [row for row, _ in failed],
        "class": [failure.kind for _, failure in failed],
        "status": [failure.status for _, failure in failed],
        "code": [failure.code or None for _, failure in failed],
        "attempts": [failure.attempts for _, failure in failed],
        "message": [failure.message for _, failure in failed],
        "digest": [known.get(row) for row, _ in failed],
    }
    return pa.table(columns, schema=SCHEMA)
