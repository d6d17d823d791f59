"""Delta tables are read by their log; files of a table are not read without one."""

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mayfly.models.errors import BadRequest
from mayfly.storage.open_input import open_dataset

deltalake: Any = pytest.importorskip("deltalake")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    folder = tmp_path / "table"
    rows = pa.table({"part": [1, 1, 2], "prompt": ["a", "b", "c d"]})
    deltalake.write_deltalake(folder, rows, partition_by=["part"])
    more = pa.table({"part": [3], "prompt": ["d"], "n": pa.array([7], pa.int32())})
    deltalake.write_deltalake(folder, more, mode="append", schema_mode="merge")
    deltalake.DeltaTable(folder).delete("prompt = 'b'")
    return folder


def rows_of(path: Path) -> list[dict[str, Any]]:
    dataset = open_dataset(str(path))
    table = pa.Table.from_batches(dataset.arrow_batches(0, dataset.rows), dataset.schema)
    return sorted(table.to_pylist(), key=lambda row: str(row["prompt"]))


def test_delta_table_reads_live_files_only(table: Path) -> None:
    assert rows_of(table) == [
        {"part": 1, "prompt": "a", "n": None},
        {"part": 2, "prompt": "c d", "n": None},
        {"part": 3, "prompt": "d", "n": 7},
    ]


def test_delta_table_skips_rows_of_deletion_vectors(tmp_path: Path) -> None:
    folder = tmp_path / "table"
    deltalake.write_deltalake(folder, pa.table({"prompt": ["a", "b", "c", "d"]}))
    add_deletions(folder, [1, 2])

    assert [row["prompt"] for row in rows_of(folder)] == ["a", "d"]
    copied = open_dataset(str(folder), beside=tmp_path / "kept").copied
    assert copied.startswith("1 file, 2 rows")


def test_delta_table_with_mapped_columns_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "table"
    deltalake.write_deltalake(folder, pa.table({"prompt": ["a"]}))
    log = folder / "_delta_log" / "00000000000000000000.json"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines:
        if "metaData" in line:
            line["metaData"]["configuration"] = {"delta.columnMapping.mode": "name"}
    log.write_text("\n".join(map(json.dumps, lines)))

    with pytest.raises(BadRequest, match="column mapping"):
        open_dataset(str(folder))


@pytest.mark.parametrize("below", ["**/*.parquet", "part=1", "part=1/*", "..", "../*"])
def test_delta_table_files_are_refused_without_the_log(table: Path, below: str) -> None:
    with pytest.raises(BadRequest, match="a Delta table; give the folder of the table itself"):
        open_dataset(f"{table}/{below}")


def test_iceberg_and_hudi_folders_are_refused(tmp_path: Path) -> None:
    for kind, marker in (("Iceberg", "metadata/v1.metadata.json"), ("Hudi", ".hoodie/x")):
        folder = tmp_path / kind
        (folder / marker).parent.mkdir(parents=True)
        (folder / marker).touch()
        (folder / "data").mkdir()
        pq.write_table(pa.table({"a": [1]}), folder / "data" / "a.parquet")
        with pytest.raises(BadRequest, match=f"{kind} table; only its log says"):
            open_dataset(str(folder))


def test_delta_table_without_its_package_names_the_extra(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "deltalake", None)

    with pytest.raises(BadRequest, match=r"pip install 'mayfly\[delta\]'"):
        open_dataset(str(table))


def add_deletions(folder: Path, rows: list[int]) -> None:
    """Commit a deletion vector, inline, for the only file of a table.

    Source: Delta protocol, Deletion Vector Format: magic, then the number of 32-bit bitmaps, each
    with its key and as a portable Roaring bitmap; Z85 inside the log.
    """
    roaring = b"".join(
        number.to_bytes(size, "little")
        for number, size in [(12346, 4), (1, 4), (0, 2), (len(rows) - 1, 2), (16, 4)]
    ) + b"".join(row.to_bytes(2, "little") for row in rows)
    payload = (1681511377).to_bytes(4, "little") + (1).to_bytes(8, "little")
    payload += (0).to_bytes(4, "little") + roaring
    size = len(payload)
    payload += bytes(-size % 4)
    log = folder / "_delta_log"
    first = [json.loads(line) for line in (log / f"{0:020}.json").read_text().splitlines()]
    add = next(line["add"] for line in first if "add" in line)
    vector = {
        "storageType": "i",
        "pathOrInlineDv": z85(payload),
        "sizeInBytes": size,
        "cardinality": len(rows),
    }
    protocol = {
        "minReaderVersion": 3,
        "minWriterVersion": 7,
        "readerFeatures": ["deletionVectors"],
        "writerFeatures": ["deletionVectors"],
    }
    remove = {"path": add["path"], "deletionTimestamp": 1, "dataChange": True}
    lines = [
        {"protocol": protocol},
        {"remove": remove},
        {"add": {**add, "deletionVector": vector}},
    ]
    (log / f"{1:020}.json").write_text("\n".join(map(json.dumps, lines)))


def z85(data: bytes) -> str:
    letters = (
        "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
    )
    text = ""
    for at in range(0, len(data), 4):
        number = int.from_bytes(data[at : at + 4], "big")
        text += "".join(letters[number // 85**power % 85] for power in range(4, -1, -1))
    return text
