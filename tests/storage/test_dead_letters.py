"""The file of failed rows, which is copied from run to run."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mayfly.storage.dead_letters import SCHEMA, dead_letter_counts


@pytest.mark.parametrize(
    ("names", "counts"), [(SCHEMA.names, {0: 3}), ([*SCHEMA.names[:-1], "other"], {})]
)
def test_file_with_other_columns_counts_nothing(
    names: list[str], counts: dict[int, int], tmp_path: Path
) -> None:
    path = tmp_path / "dead_letters.parquet"
    schema = pa.schema([SCHEMA.field(at).with_name(name) for at, name in enumerate(names)])
    labelled = schema.with_metadata({b"mayfly.shards": json.dumps({"0": 3}).encode()})
    pq.write_table(labelled.empty_table(), path)

    assert dead_letter_counts(path) == counts
