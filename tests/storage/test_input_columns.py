"""Input columns are unchanged in the output, type and value; unreadable input is refused early."""

import base64
import datetime as dt
import os
import subprocess
import sys
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
import pytest

from mayfly.models.errors import BadRequest, TerminalError
from mayfly.models.rows import Answer
from mayfly.models.shards import Shard
from mayfly.storage.cells import UnreadableCell
from mayfly.storage.dataset import SAMPLE_BYTES, SAMPLES_PER_FILE, Dataset, fingerprint_of
from mayfly.storage.input_files import refuse_output_below
from mayfly.storage.open_input import open_dataset
from mayfly.storage.part_batches import of_part
from mayfly.storage.parts import write_part


def arrow_of(dataset: Dataset) -> pa.Table:
    return pa.Table.from_batches(dataset.arrow_batches(0, dataset.rows), dataset.schema)


def output_of(dataset: Dataset, folder: Path) -> Path:
    """Write the part that a run over the dataset would."""
    answers = {row: Answer(row, "yes", None) for row in range(dataset.rows)}
    shard = Shard(index=0, first_row=0, rows=dataset.rows)
    write_part(folder, shard, dataset, answers, fingerprint="f")
    return folder


def raw_texts(values: list[bytes]) -> pa.Array:
    return pa.array(values, pa.binary()).view(pa.string())


def raw_bytes(column: pa.DictionaryArray) -> list[bytes | None]:
    """Return the texts of a dictionary column as bytes."""
    texts = column.dictionary.view(pa.binary()).to_pylist()
    return [None if at is None else texts[at] for at in column.indices.to_pylist()]


def test_int96_holds_year_9999_and_nanoseconds(tmp_path: Path) -> None:
    far = pa.array([dt.date(9999, 12, 31), None, dt.date(1, 1, 1)]).cast(pa.timestamp("us"))
    fine = pa.array([1, 2, 1_700_000_000_123_456_789], pa.timestamp("ns"))
    table = pa.table({"far": far}), pa.table({"fine": fine})
    for name, one in zip(("a", "b"), table, strict=True):
        pq.write_table(one, tmp_path / f"{name}.parquet", use_deprecated_int96_timestamps=True)

    far_back = arrow_of(open_dataset(str(tmp_path / "a.parquet")))
    fine_back = arrow_of(open_dataset(str(tmp_path / "b.parquet")))

    assert far_back["far"].combine_chunks() == far
    assert fine_back["fine"].combine_chunks() == fine


def test_uuid_and_json_keep_their_logical_type_without_an_arrow_schema(tmp_path: Path) -> None:
    table = pa.table(
        {
            "key": pa.array([uuid.uuid4().bytes, None], pa.uuid()),
            "doc": pa.array(['{"a": 1}', None], pa.json_(pa.string())),
        }
    )
    pq.write_table(table, tmp_path / "in.parquet", store_schema=False)

    folder = output_of(open_dataset(str(tmp_path / "in.parquet")), tmp_path / "out")

    schema = pq.read_metadata(folder / "part-000000.parquet").schema
    kinds = [schema.column(i).logical_type.type for i in range(2)]
    assert kinds == ["UUID", "JSON"]
    assert pq.read_table(folder)["key"].to_pylist() == table["key"].to_pylist()


def test_unusual_types_and_raw_text_are_unchanged(tmp_path: Path) -> None:
    table = pa.table(
        {
            "prompt": raw_texts([b"a", "café".encode("latin-1")]),
            "kind": pa.array(["x", None]).dictionary_encode(),
            "large": pa.array(["x", "y"], pa.large_string()),
            "many": pa.array([[1], None], pa.large_list(pa.int8())),
            "deep": [{"a": [{"b": None}]}, {"a": [{"b": "x"}]}],
            "map": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int32())),
            "money": pa.array([None, "1.50"]).cast(pa.decimal128(10, 2)),
            "when": pa.array([0, None], pa.timestamp("ms", "Europe/Berlin")),
            "none": pa.nulls(2),
        }
    )
    pq.write_table(table, tmp_path / "in.parquet")

    folder = output_of(open_dataset(str(tmp_path / "in.parquet")), tmp_path / "out")

    back = pq.read_table(folder / "part-000000.parquet").select(table.column_names)
    assert back.schema.types == table.schema.types
    assert back.drop(["prompt"]) == table.drop(["prompt"])
    raw = back["prompt"].combine_chunks().view(pa.binary())
    assert raw[1].as_py() == "café".encode("latin-1")


@pytest.mark.parametrize("index", [pa.int8(), pa.int64()], ids=str)
def test_raw_text_in_a_dictionary_is_one_rows_error_and_unchanged(
    tmp_path: Path, index: pa.DataType
) -> None:
    texts = raw_texts([b"ok", b"caf\xe9"])
    column = pa.DictionaryArray.from_arrays(pa.array([0, 1, None, 0], index), texts, ordered=True)
    pq.write_table(pa.table({"prompt": column}), tmp_path / "in.parquet")
    dataset = open_dataset(str(tmp_path / "in.parquet"))

    ((_, [cells], _),) = [(c.first_row, [*c.columns.values()], c.rows) for c in dataset.read(0, 4)]
    part = output_of(dataset, tmp_path / "out") / "part-000000.parquet"
    (kept,) = (batch.table["prompt"] for batch in of_part(part, 0))

    assert isinstance(cells[1], UnreadableCell)
    assert [cells[0], *cells[2:]] == ["ok", None, "ok"]
    assert arrow_of(dataset).schema.field("prompt").type == column.type
    assert raw_bytes(kept) == raw_bytes(column) == [b"ok", b"caf\xe9", None, b"ok"]


@pytest.mark.parametrize("levels", ["index", "two-level columns"])
def test_pandas_files_are_read_back_by_pandas(tmp_path: Path, levels: str) -> None:
    if levels == "index":
        frame = pd.DataFrame({"prompt": ["a", "b"]}, index=pd.Index(["x", "y"], name="key"))
    else:
        columns = pd.MultiIndex.from_tuples([("a", "prompt"), ("b", "n")])
        frame = pd.DataFrame([["a", 1], ["b", 2]], columns=columns)
    frame.to_parquet(tmp_path / "in.parquet")

    folder = output_of(open_dataset(str(tmp_path / "in.parquet")), tmp_path / "out")

    back = pd.read_parquet(folder)
    assert list(back["response"]) == ["yes", "yes"]
    if levels == "index":
        assert list(back.index) == ["x", "y"]


def test_files_of_one_table_are_read_as_one(tmp_path: Path) -> None:
    tables: list[dict[str, Any]] = [
        {
            "id": pa.array([1], pa.int32()),
            "note": pa.nulls(1),
            "x": pa.array([1], pa.int64()),
            "price": [Decimal("1.5")],
        },
        {"id": pa.array([2**40]), "note": ["n"], "x": [0.5], "price": [Decimal("12345.123")]},
        {"id": [3], "note": pa.array(["m"], pa.large_string()), "s": [{"a": 1}]},
        {"id": [4], "s": [{"a": 2, "b": "z"}], "note": pa.array(["d"]).dictionary_encode()},
    ]
    for number, columns in enumerate(tables):
        pq.write_table(pa.table(columns), tmp_path / f"{number}.parquet")

    table = arrow_of(open_dataset(str(tmp_path)))

    assert table.to_pydict() == {
        "id": [1, 2**40, 3, 4],
        "note": [None, "n", "m", "d"],
        "x": [1.0, 0.5, None, None],
        "price": [Decimal("1.500"), Decimal("12345.123"), None, None],
        "s": [None, None, {"a": 1, "b": None}, {"a": 2, "b": "z"}],
    }


def test_integer_beyond_float_precision_is_refused_before_sending(tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": ["a"], "x": [2**53 + 1]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"prompt": ["a"], "x": [0.5]}), tmp_path / "b.parquet")
    dataset = open_dataset(str(tmp_path))

    with pytest.raises(BadRequest, match=r"a\.parquet"):
        dataset.check_cells(["prompt"])


def test_partition_folders_are_columns(tmp_path: Path) -> None:
    for folder in ("year=2023/month=01", "year=2024/month=__HIVE_DEFAULT_PARTITION__"):
        (tmp_path / "in" / folder).mkdir(parents=True)
        pq.write_table(pa.table({"id": [1, 2]}), tmp_path / "in" / folder / "a.parquet")

    for uri in (tmp_path / "in", tmp_path / "in" / "*" / "*" / "*.parquet"):
        dataset = open_dataset(str(uri))
        assert arrow_of(dataset).to_pydict() == {
            "id": [1, 2, 1, 2],
            "year": [2023, 2023, 2024, 2024],
            "month": ["01", "01", None, None],
        }
        [first, second] = dataset.read(0, 4, ["year"])
        assert first.columns == {"year": [2023, 2023]}
        assert second.columns == {"year": [2024, 2024]}


class _Kms(pe.KmsClient):  # type: ignore[misc]
    def __init__(self, _: object) -> None:
        super().__init__()

    def wrap_key(self, key: bytes, _: str) -> bytes:
        return base64.b64encode(key)

    def unwrap_key(self, key: bytes, _: str) -> bytes:
        return base64.b64decode(key)


@pytest.mark.parametrize("plain", [True, False])
def test_encrypted_file_is_refused_without_a_crash(tmp_path: Path, plain: bool) -> None:
    settings = pe.EncryptionConfiguration(
        footer_key="f", column_keys={"c": ["secret"]}, plaintext_footer=plain
    )
    keys = pe.CryptoFactory(_Kms).file_encryption_properties(pe.KmsConnectionConfig(), settings)
    table = pa.table({"prompt": ["a"], "secret": ["b"]})
    path = tmp_path / "a.parquet"
    with pq.ParquetWriter(path, table.schema, encryption_properties=keys) as writer:
        writer.write_table(table)
    program = (
        "import sys; from mayfly.storage.open_input import open_dataset\n"
        "from mayfly.models.errors import BadRequest\n"
        "try: open_dataset(sys.argv[1])\n"
        "except BadRequest as error: sys.exit(str(error))\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert "a.parquet is encrypted Parquet" in done.stderr


def damaged(path: Path, column: int) -> None:
    """Overwrite the middle of a column's pages."""
    leaf = pq.read_metadata(path).row_group(0).column(column)
    start = leaf.dictionary_page_offset or leaf.data_page_offset
    data = bytearray(path.read_bytes())
    middle = start + leaf.total_compressed_size // 2
    data[middle : middle + 200] = bytes(200)
    path.write_bytes(data)


def test_damage_in_an_unused_column_is_found_before_sending(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.parquet"
    texts = [os.urandom(50).hex() for _ in range(500)]
    pq.write_table(pa.table({"prompt": texts, "other": texts}), path)
    damaged(path, 1)
    dataset = open_dataset(str(path))
    assert sum(chunk.rows for chunk in dataset.read(0, 500, ["prompt"])) == 500

    with pytest.raises(BadRequest, match=r"a\.parquet cannot be read"):
        dataset.check_cells(["prompt"])


def test_input_is_the_same_after_a_damaged_file_is_replaced(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.parquet"
    texts = [os.urandom(1_000).hex() for _ in range(4_000)]
    pq.write_table(pa.table({"prompt": texts, "other": texts}), path, compression="zstd")
    good = path.read_bytes()
    # Of a large input samples are hashed; damage hardly ever falls into them.
    unsampled = len(good) * 56 // SAMPLES_PER_FILE + SAMPLE_BYTES
    bad = bytearray(good)
    bad[unsampled : unsampled + 2_000] = bytes(2_000)
    path.write_bytes(bad)
    dataset = open_dataset(str(path))
    before = fingerprint_of(dataset.files, None, whole_bytes=0)
    dataset.check_cells(["prompt"], most_bytes=0)
    with pytest.raises(TerminalError, match=r"a\.parquet cannot be read"):
        output_of(dataset, tmp_path / "out")

    path.write_bytes(good)

    assert fingerprint_of(open_dataset(str(path)).files, None, whole_bytes=0) == before


@pytest.mark.parametrize(
    ("uri", "output", "refused"),
    [
        ("in", "in/out", True),
        ("in", "in", True),
        ("in/../in", "in/a/b", True),
        ("file://{}/in", "in/_out", True),
        ("in/a.parquet", "in/out", False),
        ("in/*.parquet", "in/out", False),
        ("in/*", "in/out", True),
        ("in/**", "in/x/out", True),
        ("in/**/*.parquet", "in/out", True),
        ("in", "out", False),
        ("in/a.parquet", "in", False),
        ("s3://b/in", "s3://b/in/out", True),
        ("s3://b/in", "s3://b/input", False),
        ("s3://b/in", "in/out", False),
    ],
)
def test_output_inside_the_input_is_refused(
    tmp_path: Path, uri: str, output: str, refused: bool
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.parquet").touch()
    uri, output = (
        text.format(tmp_path) if "://" in text else f"{tmp_path}/{text}" for text in (uri, output)
    )

    if refused:
        with pytest.raises(BadRequest, match="is in INPUT"):
            refuse_output_below(uri, output)
    else:
        refuse_output_below(uri, output)
