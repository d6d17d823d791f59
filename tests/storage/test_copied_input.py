"""JSON lines, CSV, Arrow and compressed files: their types, and that nothing is lost."""

import gzip
import io
import json
import os
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mayfly.models.batch_lines import BatchLines
from mayfly.models.errors import BadRequest
from mayfly.storage.cells import UnreadableCell
from mayfly.storage.csv_text import AHEAD, csv_batches
from mayfly.storage.dataset import Dataset
from mayfly.storage.open_input import open_dataset


def rows_of(dataset: Dataset) -> list[dict[str, Any]]:
    return [
        dict(zip(chunk.columns, values, strict=True))
        for chunk in dataset.read(0, dataset.rows)
        for values in zip(*chunk.columns.values(), strict=True)
    ]


def arrow_of(dataset: Dataset) -> pa.Table:
    return pa.Table.from_batches(dataset.arrow_batches(0, dataset.rows), dataset.schema)


def write_lines(path: Path, lines: list[Any]) -> str:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    elif path.suffix == ".zst":
        path.write_bytes(pa.compress(text.encode(), "zstd", asbytes=True))
    else:
        path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.jsonl.gz", "a.jsonl.zst"])
def test_json_lines_have_the_types_of_their_values(tmp_path: Path, name: str) -> None:
    lines: list[dict[str, Any]] = [
        {"id": 1, "price": 1.5, "ok": True, "text": "2024-01-01", "tags": ["a"], "of": {"k": 1}},
        {"id": 2, "price": None, "ok": False, "text": "é", "tags": [], "of": {"k": 2}, "late": 7},
    ]

    dataset = open_dataset(write_lines(tmp_path / name, lines))

    assert {field.name: str(field.type) for field in dataset.schema} == {
        "id": "int64",
        "price": "double",
        "ok": "bool",
        "text": "string",
        "tags": "list<element: string>",
        "of": "struct<k: int64>",
        "late": "int64",
    }
    assert rows_of(dataset) == [{**lines[0], "late": None}, lines[1]]


def test_values_of_mixed_types_are_kept_as_json(tmp_path: Path) -> None:
    values = [1, "1", [1, {"a": "x"}], {"a": 1}, 2.5, True, None, {}, 2**70]
    path = write_lines(tmp_path / "a.jsonl", [{"id": i, "v": v} for i, v in enumerate(values)])

    dataset = open_dataset(path)

    assert [row["v"] for row in rows_of(dataset)] == values
    texts = arrow_of(dataset)["v"].to_pylist()
    assert texts[:4] == ["1", '"1"', '[1,{"a":"x"}]', '{"a":1}']


def test_types_that_change_late_or_between_files_keep_every_value(tmp_path: Path) -> None:
    first = [{"id": i, "v": i, "w": None} for i in range(150_000)]
    write_lines(tmp_path / "a.jsonl", [*first, {"id": 150_000, "v": "x", "w": [1], "new": 1}])
    write_lines(tmp_path / "b.jsonl", [{"id": 150_001, "v": {"k": 1}, "w": [2.5]}])

    dataset = open_dataset(str(tmp_path))

    rows = rows_of(dataset)
    assert [row["id"] for row in rows] == list(range(150_002))
    assert [rows[0]["v"], rows[149_999]["v"]] == [0, 149_999]
    assert rows[-2:] == [
        {"id": 150_000, "v": "x", "w": [1.0], "new": 1},
        {"id": 150_001, "v": {"k": 1}, "w": [2.5], "new": None},
    ]


def test_invalid_bytes_in_a_line_are_kept_and_an_error_of_the_row(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"p":"a"}\r\n\n{"p":"caf\xe9"}\n{"p":"half \\ud83d"}\n{"p":"d"}')

    dataset = open_dataset(str(path))

    cells = [row["p"] for row in rows_of(dataset)]
    assert cells[0] == "a"
    assert cells[3] == "d"
    assert [type(cell) for cell in cells[1:3]] == [UnreadableCell, UnreadableCell]
    with pytest.raises(ValueError, match="not UTF-8"):
        str(cells[1])
    raw = arrow_of(dataset)["p"].combine_chunks().view(pa.binary())
    assert raw[1].as_py() == b"caf\xe9"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"a": 1}\n{"a": \n', "line 2 is not JSON"),
        ("[1, 2]\n", "line 1 is an array"),
        ("3\n", "line 1 is not an object"),
        ("", "0 rows"),
        ("\n\n", "0 rows"),
    ],
)
def test_lines_that_are_no_objects_are_refused_by_line_number(
    tmp_path: Path, text: str, says: str
) -> None:
    (tmp_path / "a.jsonl").write_text(text)

    with pytest.raises(BadRequest, match=says):
        open_dataset(str(tmp_path / "a.jsonl"))


def test_truncated_gzip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    write_lines(path, [{"a": os.urandom(20).hex()} for _ in range(5_000)])
    os.truncate(path, path.stat().st_size // 2)

    with pytest.raises(BadRequest, match=r"a\.jsonl\.gz"):
        open_dataset(str(path))


def test_csv_column_is_integer_only_if_every_value_is(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        "zip,n,price,when,text,flag\n"
        '007,1,1.50,2024-01-01,"two\nlines, ""quoted""",true\n'
        '100,-20,2,2024-01-02,"",NA\n'
        "200,,3,,,false\n"
    )

    table = arrow_of(open_dataset(str(path)))

    assert table.schema.field("n").type == pa.int64()
    assert table.to_pydict() == {
        "zip": ["007", "100", "200"],
        "n": [1, -20, None],
        "price": ["1.50", "2", "3"],
        "when": ["2024-01-01", "2024-01-02", None],
        "text": ['two\nlines, "quoted"', "", None],
        "flag": ["true", "NA", "false"],
    }


def test_csv_column_with_a_late_text_is_text_throughout(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    lines = [f"{i},{'x' * 100}" for i in range(100_000)]
    path.write_text("\n".join(["id,text", *lines, "A7,y"]) + "\n")

    ids = arrow_of(open_dataset(str(path)))["id"].to_pylist()

    assert ids == [*map(str, range(100_000)), "A7"]


def test_csv_keeps_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"p;n\ncaf\xe9;1\nb;2\n")

    dataset = open_dataset(str(tmp_path / "a.csv"))

    cells = [row["p"] for row in rows_of(dataset)]
    assert isinstance(cells[0], UnreadableCell)
    assert cells[1] == "b"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("prompt,n\na,1\n".encode("utf-16"), "is UTF-16; save it as UTF-8"),
        ("prömpt,n\na,1\n".encode("latin-1"), "the header is not UTF-8"),
    ],
)
def test_csv_whose_header_is_not_utf8_is_refused(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    (tmp_path / "a.csv").write_bytes(content)

    with pytest.raises(BadRequest, match=rf"a\.csv:? {reason}"):
        open_dataset(str(tmp_path / "a.csv"))


@pytest.mark.parametrize(
    ("name", "content", "advice"),
    [
        ("a.csv", gzip.compress(b"p\nx\n", mtime=0), r"compressed by gzip; add \.gz"),
        ("a.jsonl", gzip.compress(b"{}\n", mtime=0), r"compressed by gzip; add \.gz"),
        ("a.jsonl", '{"p": 1}'.encode("utf-16"), "UTF-16; save it as UTF-8"),
        ("a.jsonl", '{"p": 1}'.encode("utf-16-le"), "UTF-16; save it as UTF-8"),
        ("a.jsonl", b"PAR1....", "Parquet by its first bytes"),
        ("a.csv", b"PK\x03\x04...", "a ZIP archive by its first bytes"),
        ("a.json", b'[{"p": 1},\n{"p": 2}]', "JSON, but not JSON lines"),
        ("a.json", b'{\n "p": 1\n}', "JSON, but not JSON lines"),
    ],
)
def test_file_of_another_kind_than_its_name_is_refused_with_what_it_is(
    tmp_path: Path, name: str, content: bytes, advice: str
) -> None:
    (tmp_path / name).write_bytes(content)

    with pytest.raises(BadRequest, match=rf"{re.escape(name)} is {advice}"):
        open_dataset(str(tmp_path / name))


def test_line_that_is_nested_too_deep_is_refused_by_its_number(tmp_path: Path) -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    (tmp_path / "a.jsonl").write_bytes(b'{"p": 1}\n{"p": ' + deep + b"}\n")

    with pytest.raises(BadRequest, match="line 2 is nested too deep"):
        open_dataset(str(tmp_path / "a.jsonl"))


def test_csv_lines_may_end_with_a_carriage_return_alone(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"p,n\rhello,1\rworld,2\r")

    found = rows_of(open_dataset(str(tmp_path / "a.csv")))

    assert found == [{"p": "hello", "n": 1}, {"p": "world", "n": 2}]


def test_csv_header_that_never_ends_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b'p,"' + b"x" * 200_000)

    with pytest.raises(BadRequest, match=r"a\.csv cannot be read as CSV: the header"):
        open_dataset(str(tmp_path / "a.csv"))


def test_csv_records_of_another_width_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n1,2,3\n")

    with pytest.raises(BadRequest, match=r"a\.csv cannot be read as CSV: .*3"):
        open_dataset(str(tmp_path / "a.csv"))


@pytest.mark.parametrize("name", ["a.arrow", "a.feather", "s.arrow", "a.arrow.zst", "s.ipc.gz"])
def test_arrow_files_and_streams_keep_their_types(tmp_path: Path, name: str) -> None:
    table = pa.table(
        {
            "id": range(1_000),
            "kind": pa.array(["x", "y"] * 500).dictionary_encode(),
            "key": pa.array([os.urandom(16) for _ in range(1_000)], pa.uuid()),
            "of": [{"a": [i]} for i in range(1_000)],
        }
    )
    sink = pa.BufferOutputStream()
    make = pa.ipc.new_stream if name.startswith("s") else pa.ipc.new_file
    with make(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=100)
    data = sink.getvalue().to_pybytes()
    if name.endswith(".zst"):
        data = pa.compress(data, "zstd", asbytes=True)
    if name.endswith(".gz"):
        data = gzip.compress(data)
    (tmp_path / name).write_bytes(data)

    dataset = open_dataset(str(tmp_path / name))

    assert arrow_of(dataset).to_pylist() == table.to_pylist()
    assert dataset.schema.field("key").type == pa.uuid()
    [chunk] = dataset.read(333, 3, ["id"])
    assert chunk.columns == {"id": [333, 334, 335]}
    assert bool(dataset.copied) == (name not in ("a.arrow", "a.feather"))


def test_copy_is_made_once_and_again_when_the_source_changes(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write_lines(path, [{"a": 1}])
    said: list[str] = []
    first = open_dataset(str(path), beside=tmp_path / "kept", log=said.append)
    assert first.copied.startswith("1 file, 1 rows")
    assert said == [f"copying {path} to Parquet, which is done once"]

    os.utime(path, (1, 1))
    touched = open_dataset(str(path), beside=tmp_path / "kept", log=said.append)
    assert len(said) == 1
    assert "before" in touched.copied
    assert touched.fingerprint == first.fingerprint

    write_lines(path, [{"a": 2}])
    changed = open_dataset(str(path), beside=tmp_path / "kept")
    assert rows_of(changed) == [{"a": 2}]
    assert changed.fingerprint != first.fingerprint


def test_leftovers_of_a_killed_copy_are_removed(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [{"a": 1}])
    open_dataset(path, beside=tmp_path / "kept")
    [home] = (tmp_path / "kept" / "copies").iterdir()
    dead = home.with_name(f".{home.name}.999999999-1-1.tmp")
    dead.mkdir()
    (dead / "0000.parquet").write_bytes(b"half")
    write_lines(tmp_path / "a.jsonl", [{"a": 2}])

    assert rows_of(open_dataset(path, beside=tmp_path / "kept")) == [{"a": 2}]

    assert list((tmp_path / "kept" / "copies").iterdir()) == [home]


def test_fingerprint_of_a_copied_input_follows_its_content(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write_lines(tmp_path / folder / "a.jsonl", [{"a": 1}])

    one, two = (open_dataset(str(tmp_path / name / "a.jsonl")) for name in ("one", "two"))

    assert one.fingerprint == two.fingerprint
    assert one.describe()["sources"] == two.describe()["sources"]


def test_files_of_two_kinds_are_refused(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", [{"a": 1}])
    pq.write_table(pa.table({"a": [1]}), tmp_path / "b.parquet")

    with pytest.raises(BadRequest, match=r"b\.parquet is Parquet and .*a\.jsonl is JSON lines"):
        open_dataset(str(tmp_path))


def test_openai_batch_lines_are_recognised_as_requests(tmp_path: Path) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stop": None}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
    dataset = open_dataset(write_lines(tmp_path / "a.jsonl", [line, line | {"custom_id": "b"}]))

    assert dataset.requests == BatchLines(("m",), ("/v1/chat/completions",))
    assert rows_of(dataset)[0]["body"] == body

    with pytest.raises(BadRequest, match="line 2: no custom_id"):
        open_dataset(write_lines(tmp_path / "a.jsonl", [line, {"custom_id": "b"}]))


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("abc", min_size=1, max_size=2), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.dictionaries(st.sampled_from("xyz"), JSON_VALUES), min_size=1, max_size=6).filter(
        any
    )
)
def test_any_json_lines_round_trip_up_to_nulls_and_floats(
    tmp_path: Path, lines: list[dict[str, Any]]
) -> None:
    dataset = open_dataset(write_lines(tmp_path / "any.jsonl", lines))

    back = rows_of(dataset)

    assert len(back) == len(lines)
    for line, row in zip(lines, back, strict=True):
        for name in row.keys() | line.keys():
            assert plain(row.get(name)) == plain(line.get(name))


def plain(value: Any) -> Any:
    """Return a value without what a type of its column adds: nulls for names that are absent."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if plain(v) is not None} or None
    if isinstance(value, list):
        return [plain(v) for v in value]
    return value


def test_csv_is_read_no_further_ahead_than_a_few_blocks() -> None:
    block = 2**16
    stream = io.BytesIO(b"id,text\n" + b"7,x\n" * (100 * block // 4))
    batches = csv_batches(stream, "a.csv", block, no_batch_s=60.0)

    # The first MiB is read for the header, whatever the size of a block.
    ahead = [stream.tell() - 2**20 - number * block for number, _ in enumerate(batches)]

    assert len(ahead) >= 100
    assert max(ahead) <= (AHEAD + 1) * block


def test_csv_record_longer_than_a_block_is_read(tmp_path: Path) -> None:
    text = "y\n" * 3_000_000
    (tmp_path / "a.csv").write_text(f'id,text\n1,x\n2,"{text}"\n3,z\n')

    assert [row["text"] for row in rows_of(open_dataset(str(tmp_path / "a.csv")))] == [
        "x",
        text,
        "z",
    ]
