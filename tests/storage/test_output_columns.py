"""Optional output columns: types that follow from a schema, and vectors."""

import base64
from array import array
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mayfly.models.errors import BadRequest
from mayfly.models.failures import OTHER, Failure
from mayfly.models.job import PromptSpec, Sampling
from mayfly.models.rows import Answer
from mayfly.models.shards import Shard
from mayfly.storage.arrow_types import arrow_type
from mayfly.storage.open_input import open_dataset
from mayfly.storage.output_columns import Embedding, Parsed, output_columns
from mayfly.storage.parts import check_columns, read_answers, write_part
from mayfly.storage.run_paths import part_name

POINT = {
    "type": "object",
    "properties": {"x": {"type": "integer"}, "label": {"type": ["string", "null"]}},
}
POINT_TEXT = orjson.dumps(POINT).decode()


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": "string"}, "string"),
        ({"type": "integer"}, "int64"),
        ({"type": "number"}, "double"),
        ({"type": ["integer", "number"]}, "double"),
        ({"type": "boolean"}, "bool"),
        ({"type": ["null", "boolean"]}, "bool"),
        ({"enum": ["a", "b", None]}, "string"),
        ({"const": 3}, "int64"),
        ({"enum": [1, "a"]}, "string"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "int64"),
        ({"oneOf": [{"type": "integer"}, {"type": "string"}]}, "string"),
        ({"allOf": [POINT]}, "struct<x: int64, label: string>"),
        ({"type": "array", "items": {"type": "number"}}, "list<item: double>"),
        ({"type": "array"}, "list<item: string>"),
        ({"type": "array", "prefixItems": [{"type": "number"}]}, "list<item: string>"),
        (POINT, "struct<x: int64, label: string>"),
        ({"properties": {"x": {"type": "integer"}}}, "struct<x: int64>"),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, "string"),
        ({}, "string"),
        ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "integer"}}}, "int64"),
        (
            {"$ref": "#/definitions/p", "definitions": {"p": POINT}},
            "struct<x: int64, label: string>",
        ),
        ({"$ref": "http://else.where/p"}, "string"),
        (
            {"type": "object", "properties": {"v": {"type": "integer"}, "next": {"$ref": "#"}}},
            "struct<v: int64, next: string>",
        ),
    ],
)
def test_column_type_follows_from_the_json_schema(schema: dict[str, Any], kind: str) -> None:
    assert str(arrow_type(schema).type) == kind


def test_parsed_values_equal_those_of_the_answer() -> None:
    column = Parsed(
        {
            "type": "object",
            "properties": {
                "point": POINT,
                "tags": {"type": "array", "items": {"type": "string"}},
                "any": {},
                "big": {"type": "integer"},
            },
        }
    )
    texts = [
        '{"point":{"x":1.0},"tags":["a"],"any":{"b":[1]},"big":99999999999999999999}',
        None,
        "{}",
    ]

    assert column.array(texts).to_pylist() == [
        {"point": {"x": 1, "label": None}, "tags": ["a"], "any": '{"b":[1]}', "big": None},
        None,
        {"point": None, "tags": None, "any": None, "big": None},
    ]


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=6,
)
schemas = st.recursive(
    st.sampled_from(["string", "integer", "number", "boolean", "null"]).map(lambda t: {"type": t}),
    lambda inner: (
        st.builds(lambda i: {"type": "array", "items": i}, inner)
        | st.dictionaries(st.sampled_from("ab"), inner).map(
            lambda p: {"type": "object", "properties": p}
        )
        | st.lists(inner, min_size=1, max_size=2).map(lambda c: {"anyOf": c})
    ),
    max_leaves=4,
)


@settings(max_examples=40, deadline=None)
@given(schema=schemas, values=st.lists(json_values, max_size=5))
def test_any_value_fits_the_column_of_any_schema(schema: dict[str, Any], values: list[Any]) -> None:
    typed = arrow_type(schema)

    assert len(pa.array([typed.convert(value) for value in values], typed.type)) == len(values)


def text_of(*numbers: float) -> str:
    return base64.b64encode(array("f", numbers).tobytes()).decode()


vectors = st.none() | st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=4).map(
    lambda numbers: text_of(*numbers)
)


@given(st.lists(vectors, max_size=8))
def test_vectors_round_trip(texts: list[str | None]) -> None:
    column = Embedding().array(texts)

    assert str(column.type) == "list<item: float>"
    assert Embedding().texts(column) == texts


def test_part_with_vectors_has_no_text_and_round_trips(tmp_path: Path) -> None:
    pq.write_table(pa.table({"q": ["a", "b", "c"]}), tmp_path / "in.parquet")
    dataset = open_dataset(str(tmp_path / "in.parquet"))
    answers = {
        0: Answer(0, text_of(1, 2.5), None, attempts=1),
        1: Answer(1, None, Failure(OTHER, "bad")),
        2: Answer(2, text_of(3, 4), None, attempts=1),
    }
    columns = output_columns(PromptSpec(embed_column="q"), Sampling())
    shard = Shard(index=0, first_row=0, rows=3)
    write_part(tmp_path / "out", shard, dataset, answers, fingerprint="f", columns=columns)

    path = tmp_path / "out" / part_name(0)
    written = pq.read_table(path)

    assert written.column_names[-2:] == ["latency_s", "embedding"]
    assert written["response"].to_pylist() == [None] * 3
    assert written["embedding"].to_pylist() == [[1.0, 2.5], None, [3.0, 4.0]]
    assert read_answers(path, columns) == answers


def test_part_has_parsed_columns_last(tmp_path: Path) -> None:
    pq.write_table(pa.table({"q": ["a", "b"]}), tmp_path / "in.parquet")
    dataset = open_dataset(str(tmp_path / "in.parquet"))
    answers = {
        0: Answer(0, orjson.dumps({"x": 1}).decode(), None),
        1: Answer(1, None, Failure(OTHER, "bad")),
    }
    shard = Shard(index=0, first_row=0, rows=2)
    columns = output_columns(PromptSpec(), Sampling(json_schema=POINT_TEXT))
    write_part(tmp_path / "out", shard, dataset, answers, fingerprint="f", columns=columns)

    written = pq.read_table(tmp_path / "out" / part_name(0))

    assert written.column_names[-1] == "parsed"
    assert written["parsed"].to_pylist() == [{"x": 1, "label": None}, None]


@pytest.mark.parametrize(
    ("name", "prompt", "sampling"),
    [
        ("parsed", PromptSpec(), Sampling(json_schema=POINT_TEXT)),
        ("embedding", PromptSpec(embed_column="q"), Sampling()),
    ],
)
def test_reserved_input_column_is_refused_only_where_needed(
    tmp_path: Path, name: str, prompt: PromptSpec, sampling: Sampling
) -> None:
    pq.write_table(pa.table({"q": ["a"], name: ["b"]}), tmp_path / "in.parquet")
    dataset = open_dataset(str(tmp_path / "in.parquet"))

    check_columns(dataset)
    with pytest.raises(BadRequest, match=f"'{name}'"):
        check_columns(dataset, output_columns(prompt, sampling))
