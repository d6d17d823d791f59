"""Part files: output columns, input columns, written atomically."""

import datetime as dt
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mayfly.models.errors import BadRequest, TerminalError
from mayfly.models.failures import OTHER, Failure
from mayfly.models.rows import Answer, Tally
from mayfly.models.shards import Shard, plan_shards
from mayfly.storage.dataset import Dataset
from mayfly.storage.open_input import open_dataset
from mayfly.storage.parts import (
    check_columns,
    part_is_done,
    part_label,
    read_answers,
    write_part,
)
from mayfly.storage.run_paths import part_name

JOB = "f" * 64


def answer(row: int) -> Answer:
    if row % 7 == 3:
        return Answer(row, None, Failure(OTHER, f"row {row} went wrong", attempts=2), attempts=2)
    return Answer(row, f"answer {row}", None, "stop", row, 10, 5, 1, 0.25)


def answers_to(shard: Shard) -> dict[int, Answer]:
    return {row: answer(row) for row in range(shard.first_row, shard.end_row)}


def rich_table(rows: int) -> pa.Table:
    moment = dt.datetime(2024, 2, 29, tzinfo=dt.UTC)
    return pa.table(
        {
            "kind": pa.array([f"kind {i % 3}" for i in range(rows)]).dictionary_encode(),
            "messages": [[{"role": "user", "content": str(i)}] for i in range(rows)],
            "when": pa.array([moment] * rows, pa.timestamp("ns", "Europe/Berlin")),
            "price": pa.array([Decimal("1.50")] * rows, pa.decimal128(9, 2)),
            "nothing": pa.nulls(rows),
            "small": pa.array([i % 100 for i in range(rows)], pa.uint8()),
            "large": pa.array([b"x"] * rows, pa.large_binary()),
            "pairs": pa.array([[("k", i)] for i in range(rows)], pa.map_(pa.string(), pa.int16())),
        }
    )


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    pq.write_table(rich_table(50), tmp_path / "in.parquet", row_group_size=20)
    return open_dataset(str(tmp_path / "in.parquet"))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_pandas_reads_the_output_as_input_plus_answers(dataset: Dataset, out: Path) -> None:
    for shard in reversed(plan_shards(dataset.row_groups, shard_rows=20)):
        write_part(out, shard, dataset, answers_to(shard), fingerprint=JOB)

    frame = pd.read_parquet(out)

    expected = [answer(row) for row in range(50)]
    assert list(frame.columns[:8]) == list(dataset.columns)
    assert [m[0]["content"] for m in frame["messages"]] == [str(row) for row in range(50)]
    assert frame["response"].tolist() == pd.Series([a.response for a in expected]).tolist()
    assert frame["error"].isna().tolist() == [a.error is None for a in expected]
    counts = pd.Series([a.prompt_tokens for a in expected], dtype="float64")
    assert frame["prompt_tokens"].equals(counts)
    assert frame["latency_s"].tolist() == [a.latency_s for a in expected]


def test_output_columns_have_the_documented_types(dataset: Dataset, out: Path) -> None:
    shard = Shard(index=0, first_row=0, rows=50)
    write_part(out, shard, dataset, answers_to(shard), fingerprint=JOB)

    schema = pq.read_schema(out / part_name(0))

    assert [(field.name, str(field.type)) for field in schema][8:] == [
        ("response", "string"),
        ("error", "string"),
        ("finish_reason", "string"),
        ("prompt_tokens", "int64"),
        ("completion_tokens", "int64"),
        ("cached_tokens", "int64"),
        ("attempts", "int32"),
        ("latency_s", "double"),
        ("reasoning", "string"),
        ("tool_calls", "string"),
    ]


def test_input_columns_keep_their_types_and_values(dataset: Dataset, out: Path) -> None:
    shard = Shard(index=0, first_row=13, rows=31)
    write_part(out, shard, dataset, answers_to(shard), fingerprint=JOB)

    written = pq.read_table(out / part_name(0)).select(dataset.columns)

    assert written.schema.remove_metadata() == dataset.schema.remove_metadata()
    assert written.to_pylist() == rich_table(50).slice(13, 31).to_pylist()


def test_pandas_metadata_of_the_input_is_kept(tmp_path: Path, out: Path) -> None:
    frame = pd.DataFrame({"q": ["a", "b", "c"], "c": pd.Categorical(["x", "y", "x"])})
    frame.index = pd.Index(["one", "two", "three"], name="key")
    frame.to_parquet(tmp_path / "in.parquet")
    dataset = open_dataset(str(tmp_path / "in.parquet"))
    for shard in plan_shards(dataset.row_groups, shard_rows=2):
        write_part(out, shard, dataset, answers_to(shard), fingerprint=JOB)

    read = pd.read_parquet(out)

    assert read.index.tolist() == ["one", "two", "three"]
    assert read["response"].tolist() == ["answer 0", "answer 1", "answer 2"]


def test_memory_to_write_a_part_is_a_few_batches(tmp_path: Path, out: Path) -> None:
    def peak(rows: int) -> int:
        path = tmp_path / f"{rows}.parquet"
        texts = [f"{row:010d}" * 1_000 for row in range(rows)]
        pq.write_table(pa.table({"q": texts}), path, use_dictionary=False)
        dataset = open_dataset(str(path))
        shard = Shard(index=0, first_row=0, rows=rows)
        answers = answers_to(shard)
        pool = pa.proxy_memory_pool(before := pa.default_memory_pool())
        pa.set_memory_pool(pool)
        try:
            write_part(out, shard, dataset, answers, fingerprint=JOB)
        finally:
            pa.set_memory_pool(before)
        return int(pool.max_memory())

    assert peak(12_000) <= 1.1 * peak(6_000)


def test_part_with_a_missing_row_is_not_written(dataset: Dataset, out: Path) -> None:
    shard = Shard(index=0, first_row=0, rows=50)
    answers = answers_to(shard)
    del answers[41]

    with pytest.raises(TerminalError, match="row 41 has no answer"):
        write_part(out, shard, dataset, answers, fingerprint=JOB)

    assert [path for path in out.rglob("*") if path.is_file()] == []


def test_part_is_recognised_by_its_fingerprint(dataset: Dataset, out: Path) -> None:
    shard = Shard(index=0, first_row=0, rows=20)
    write_part(out, shard, dataset, answers_to(shard), fingerprint=JOB)
    path = out / part_name(0)

    assert part_is_done(path, shard, JOB)
    assert not part_is_done(path, shard, "e" * 64)
    assert not part_is_done(path, Shard(index=0, first_row=0, rows=21), JOB)
    assert not part_is_done(out / part_name(1), shard, JOB)

    path.write_bytes(path.read_bytes()[:-3])
    assert not part_is_done(path, shard, JOB)


def test_foreign_parquet_file_is_no_part(dataset: Dataset) -> None:
    assert part_label(Path(dataset.files[0].path)) is None


def test_part_has_its_totals(dataset: Dataset, out: Path) -> None:
    shard = Shard(index=0, first_row=0, rows=20)
    tally = write_part(out, shard, dataset, answers_to(shard), fingerprint=JOB)

    label = part_label(out / part_name(0))

    expected = Tally()
    for value in answers_to(shard).values():
        expected = expected.plus(value)
    assert label is not None
    assert label.tally == tally == expected


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=st.integers(0, 49), rows=st.integers(1, 50))
def test_answers_round_trip(dataset: Dataset, out: Path, first: int, rows: int) -> None:
    shard = Shard(index=0, first_row=first, rows=min(rows, 50 - first))
    write_part(out, shard, dataset, answers_to(shard), fingerprint=JOB)

    assert read_answers(out / part_name(0)) == answers_to(shard)


def test_text_without_utf8_form_is_an_error_of_one_row(dataset: Dataset, out: Path) -> None:
    shard = Shard(index=0, first_row=0, rows=20)
    answers = {**answers_to(shard), 4: Answer(4, "half \ud800 pair", None)}

    write_part(out, shard, dataset, answers, fingerprint=JOB)

    assert read_answers(out / part_name(0))[4].response == "half \ufffd pair"


@pytest.mark.parametrize("name", ["response", "error", "attempts"])
def test_input_column_with_an_output_name_is_refused(tmp_path: Path, name: str) -> None:
    pq.write_table(pa.table({"q": ["a"], name: ["b"]}), tmp_path / "in.parquet")

    with pytest.raises(BadRequest, match=f"'{name}'.*rename it"):
        check_columns(open_dataset(str(tmp_path / "in.parquet")))


@given(st.lists(st.integers(0, 999_999), max_size=20))
def test_part_names_sort_as_shards(indexes: list[int]) -> None:
    assert sorted(map(part_name, indexes)) == [part_name(index) for index in sorted(indexes)]


FILL = """
import resource, signal, sys
from pathlib import Path
from mayfly.models.errors import TerminalError
from mayfly.models.rows import Answer
from mayfly.models.shards import Shard
from mayfly.storage.open_input import open_dataset
from mayfly.storage.parts import write_part

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
dataset = open_dataset(sys.argv[1])
answers = {row: Answer(row, "x" * 100, None) for row in range(50)}
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_part(Path(sys.argv[2]), Shard(index=0, first_row=0, rows=50), dataset, answers,
               fingerprint="f")
except TerminalError as error:
    print(error)
"""


def test_full_disk_leaves_no_part_and_no_temporary_file(dataset: Dataset, out: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FILL, dataset.uri, str(out)],
        capture_output=True,
        text=True,
        check=True,
    )

    assert "cannot be written" in done.stdout
    assert [path for path in out.rglob("*") if path.is_file()] == []
