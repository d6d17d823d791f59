"""The input dataset: refused files, and reading of rows."""

import datetime as dt
import os
import pickle
import threading
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mayfly.models.errors import BadRequest, TerminalError
from mayfly.storage.open_input import open_dataset
from mayfly.storage.parquet_reader import BATCH_BYTES
from tests.support.parquet_input import ids, write


@pytest.mark.parametrize("content", [b"", b"PAR1", b"id,text\n1,hello there\n"])
def test_foreign_file_in_a_folder_is_refused_by_name(folder: Path, content: bytes) -> None:
    (folder / "notes.csv").write_bytes(content)

    with pytest.raises(BadRequest, match=r"notes\.csv is"):
        open_dataset(str(folder))


@pytest.mark.parametrize("lost", [1, 7, 300, 700])
def test_truncated_file_is_refused(folder: Path, lost: int) -> None:
    path = folder / "a.parquet"
    os.truncate(path, path.stat().st_size - lost)

    with pytest.raises(BadRequest, match=r"a\.parquet is truncated"):
        open_dataset(str(folder))


def test_damaged_footer_is_refused_by_name(folder: Path) -> None:
    path = folder / "a.parquet"
    data = bytearray(path.read_bytes())
    data[-200:-20] = bytes(180)
    path.write_bytes(data)

    with pytest.raises(BadRequest, match=r"a\.parquet cannot be read"):
        open_dataset(str(folder))


def test_input_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="0 rows"):
        open_dataset(str(write(tmp_path / "a.parquet", 0)))


def test_empty_file_among_others_does_not_affect_the_schema(folder: Path) -> None:
    pq.write_table(pa.table({"id": pa.nulls(0)}), folder / "A.parquet")

    assert ids(open_dataset(str(folder))) == list(range(13))


def test_files_whose_columns_differ_are_refused_by_column(folder: Path) -> None:
    write(folder / "d.parquet", 2, id=pa.array(["1", "2"]))
    with pytest.raises(BadRequest, match=r"column 'id' is int64 in .* and string in .*d\.parquet"):
        open_dataset(str(folder))


def test_column_order_may_differ_between_files(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [0], "text": ["a"]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": ["b"], "id": [1]}), tmp_path / "b.parquet")

    dataset = open_dataset(str(tmp_path))

    [first, second] = dataset.arrow_batches(0, 2)
    assert first.schema == second.schema == dataset.schema
    assert ids(dataset) == [0, 1]


def test_column_is_nullable_if_nullable_in_any_file(tmp_path: Path) -> None:
    for name, nullable, value in (("a", False, 1), ("b", True, None)):
        schema = pa.schema([pa.field("id", pa.int64(), nullable=nullable)])
        pq.write_table(pa.table({"id": [value]}, schema=schema), tmp_path / f"{name}.parquet")

    dataset = open_dataset(str(tmp_path))

    assert dataset.schema.field("id").nullable
    assert [batch["id"].to_pylist() for batch in dataset.arrow_batches(0, 2)] == [[1], [None]]


def test_duplicate_column_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table([[1], [2]], names=["id", "id"]), tmp_path / "a.parquet")

    with pytest.raises(BadRequest, match="column 'id' twice"):
        open_dataset(str(tmp_path))


def test_limit_takes_the_first_rows(folder: Path) -> None:
    dataset = open_dataset(str(folder), limit=7)

    assert ids(dataset) == list(range(7))
    assert sum(group.rows for group in dataset.row_groups) == 7
    assert open_dataset(str(folder), limit=100).rows == 13


def test_fingerprint_depends_on_content_and_not_path_or_time(folder: Path) -> None:
    original = open_dataset(str(folder / "a.parquet")).fingerprint
    copy = folder.parent / "copy.parquet"
    copy.write_bytes((folder / "a.parquet").read_bytes())
    os.utime(copy, (1, 1))

    assert open_dataset(str(copy)).fingerprint == original
    assert open_dataset(str(copy), limit=3).fingerprint != original
    assert open_dataset(str(folder)).fingerprint != original


def test_one_changed_byte_of_one_value_changes_the_fingerprint(tmp_path: Path) -> None:
    def written(word: str) -> str:
        texts = ["aaaa", word, "zzzz"]
        pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet", compression="none")
        return open_dataset(str(tmp_path)).fingerprint

    assert written("mild") != written("mold")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=4).filter(any),
    group=st.integers(1, 15),
    batch=st.none() | st.integers(1, 9),
    reads=st.lists(st.tuples(st.integers(0, 160), st.integers(0, 160)), max_size=5),
)
def test_any_row_range_equals_that_of_the_files(
    tmp_path: Path,
    sizes: list[int],
    group: int,
    batch: int | None,
    reads: list[tuple[int, int]],
) -> None:
    for old in tmp_path.glob("*.parquet"):
        old.unlink()
    for number, size in enumerate(sizes):
        write(tmp_path / f"{number}.parquet", size, first=sum(sizes[:number]), group=group)
    dataset = open_dataset(str(tmp_path))

    for one, other in reads:
        first, end = sorted((one % (dataset.rows + 1), other % (dataset.rows + 1)))
        chunks = list(dataset.read(first, end - first, ["id"], batch))
        assert [v for chunk in chunks for v in chunk.columns["id"]] == list(range(first, end))
        assert all(chunk.columns["id"][0] == chunk.first_row for chunk in chunks)
        assert all(0 < chunk.rows <= (batch or 4096) for chunk in chunks)
        arrow = list(dataset.arrow_batches(first, end - first))
        assert [v for part in arrow for v in part["id"].to_pylist()] == list(range(first, end))


def test_columns_that_are_not_selected_are_not_read(folder: Path) -> None:
    [chunk] = open_dataset(str(folder / "a.parquet")).read(0, 5, ["text"])

    assert set(chunk.columns) == {"text"}


def test_read_without_columns_counts_rows(folder: Path) -> None:
    chunks = list(open_dataset(str(folder)).read(2, 9, [], batch_rows=4))

    assert [(chunk.first_row, chunk.rows) for chunk in chunks] == [(2, 4), (6, 4), (10, 1)]


def test_unknown_column_is_refused_with_the_columns(folder: Path) -> None:
    with pytest.raises(BadRequest, match="no column 'prompt'; it has id, text"):
        list(open_dataset(str(folder)).read(0, 1, ["prompt"]))


def test_column_names_with_dots_differ_from_nested_columns(tmp_path: Path) -> None:
    table = pa.table({"a": [{"b": 1}], "a.b": ["dotted"], "ab": [2]})
    pq.write_table(table, tmp_path / "a.parquet")
    dataset = open_dataset(str(tmp_path))

    [chunk] = dataset.read(0, 1, ["a.b"])
    assert chunk.columns == {"a.b": ["dotted"]}
    [chunk] = dataset.read(0, 1, ["a"])
    assert chunk.columns == {"a": [{"b": 1}]}


def test_values_are_plain_python(tmp_path: Path) -> None:
    when = dt.datetime(2024, 2, 29, 12, 30, tzinfo=dt.UTC)
    row = {
        "messages": [{"role": "user", "content": "hi"}],
        "when": when,
        "price": Decimal("1.50"),
        "none": None,
        "kind": "x",
    }
    table = pa.table(
        {
            "messages": [row["messages"]],
            "when": pa.array([when], pa.timestamp("us", "UTC")),
            "price": [row["price"]],
            "none": pa.nulls(1),
            "kind": pa.array(["x"]).dictionary_encode(),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")

    [chunk] = open_dataset(str(tmp_path)).read(0, 1)

    assert {name: values[0] for name, values in chunk.columns.items()} == row


def test_dataset_can_be_pickled(folder: Path) -> None:
    dataset = pickle.loads(pickle.dumps(open_dataset(str(folder), limit=11)))  # noqa: S301

    assert ids(dataset) == list(range(11))


def test_open_readers_stay_with_their_dataset(folder: Path) -> None:
    dataset, other = open_dataset(str(folder)), open_dataset(str(folder))

    list(dataset.read(0, 3, ["id"]))

    assert len(dataset.readers.idle) == 1
    assert other.readers.idle == ()
    assert pickle.loads(pickle.dumps(dataset)).readers.idle == ()  # noqa: S301
    dataset.close()
    assert not dataset.readers.idle
    assert ids(dataset) == ids(other)


def test_read_in_another_thread_continues_at_the_last_row(
    tmp_path: Path,
) -> None:
    dataset = open_dataset(str(write(tmp_path / "a.parquet", 9_000, group=9_000)))
    list(dataset.read(0, 3_000, ["id"]))
    [idle] = dataset.readers.idle

    thread = threading.Thread(target=lambda: list(dataset.read(3_000, 3_000, ["id"])))
    thread.start()
    thread.join()

    [again] = dataset.readers.idle
    assert again is idle
    assert again.position == 6_000
    dataset.close()
    assert dataset.readers.idle == ()


def test_concurrent_readers_have_their_own_positions(tmp_path: Path) -> None:
    dataset = open_dataset(str(write(tmp_path / "a.parquet", 100, group=50)))
    one, other = (dataset.read(0, 100, ["id"], batch_rows=7) for _ in range(2))

    pairs = list(zip(one, other, strict=True))

    assert all(left == right for left, right in pairs)
    assert sum(left.rows for left, _ in pairs) == 100


def test_abandoned_reader_does_not_affect_others(tmp_path: Path) -> None:
    dataset = open_dataset(str(write(tmp_path / "a.parquet", 100, group=50)))
    reader = dataset.read(0, 100, ["id"], batch_rows=7)
    next(reader)
    reader.close()  # type: ignore[attr-defined]

    assert ids(dataset) == list(range(100))


def test_file_changed_during_the_run_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", 50)
    dataset = open_dataset(str(path))
    write(path, 50, first=7)

    with pytest.raises(TerminalError, match=r"a\.parquet changed during the run"):
        ids(dataset)


def test_damaged_page_is_an_error_with_the_file_name(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", 5_000, group=5_000)
    dataset = open_dataset(str(path))
    data = bytearray(path.read_bytes())
    data[4:2000] = bytes(1996)
    path.write_bytes(data)

    with pytest.raises(TerminalError, match=r"a\.parquet cannot be read"):
        ids(dataset)


def test_memory_is_independent_of_row_group_size(tmp_path: Path) -> None:
    def peak(rows: int) -> int:
        path = tmp_path / f"{rows}.parquet"
        texts = [os.urandom(10_000).hex() for _ in range(rows)]
        pq.write_table(pa.table({"text": texts}), path, compression="none", use_dictionary=False)
        dataset = open_dataset(str(path))
        pool = pa.proxy_memory_pool(before := pa.default_memory_pool())
        pa.set_memory_pool(pool)
        try:
            assert sum(chunk.rows for chunk in dataset.read(0, rows)) == rows
        finally:
            pa.set_memory_pool(before)
        return int(pool.max_memory())

    assert peak(4_000) <= 1.1 * peak(2_000)


def test_repeated_long_text_does_not_fill_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["s" * 50_000] * 2_000}), path)

    largest = max(chunk.rows for chunk in open_dataset(str(path)).read(0, 2_000))

    assert largest * 50_000 <= 2 * BATCH_BYTES


def test_many_small_files_are_read_from_one_copy_unchanged(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(80):
        write(tmp_path / "in" / f"{number:03d}.parquet", 3, first=3 * number)
    other = pa.table({"id": pa.array([240], pa.int32()), "text": pa.nulls(1)})
    pq.write_table(other, tmp_path / "in" / "080.parquet")

    dataset = open_dataset(str(tmp_path / "in"), beside=tmp_path / "kept")

    assert [file.rows for file in dataset.packed] == [241]
    assert [rows for _, rows, _ in dataset.describe()["sources"]] == [3] * 80 + [1]
    assert ids(dataset) == list(range(241))
    [chunk] = dataset.read(100, 2, ["text"])
    assert chunk.columns == {"text": ["row 100", "row 101"]}
    for file in (tmp_path / "in").iterdir():
        os.truncate(file, file.stat().st_size)  # The same content at another time.
    again = open_dataset(str(tmp_path / "in"), beside=tmp_path / "kept")
    assert again.packed == dataset.packed


def test_damaged_small_file_is_found_while_it_is_copied(tmp_path: Path) -> None:
    for number in range(80):
        write(tmp_path / f"{number:03d}.parquet", 100, group=100)
    path = tmp_path / "040.parquet"
    data = bytearray(path.read_bytes())
    data[4:400] = bytes(396)
    path.write_bytes(data)

    with pytest.raises(BadRequest, match=r"040\.parquet cannot be read"):
        open_dataset(str(tmp_path))


def test_rows_of_many_files_are_added_up_once(tmp_path: Path) -> None:
    added: list[object] = []

    class Files(tuple[Any, ...]):
        def __iter__(self) -> Any:
            added.append(self)
            return super().__iter__()

    write(tmp_path / "a.parquet", 20)
    dataset = open_dataset(str(tmp_path / "a.parquet"))
    dataset = replace(dataset, files=Files(dataset.files), packed=dataset.files)
    added.clear()

    for first in range(0, 20, 5):
        assert [chunk.rows for chunk in dataset.read(first, 5, ["id"])] == [5]

    assert added == []
