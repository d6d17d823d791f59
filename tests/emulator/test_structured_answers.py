"""Structured answers: instances of their schema that vary with the prompt."""

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.emulator_client import EmulatorClient
from together_emulator.http.errors import ApiError
from together_emulator.inference.schema_instance import SchemaWriter
from together_emulator.inference.text import seed_of

seeds = st.binary(min_size=16, max_size=16)
numbers = st.integers(-50, 50)
scalars: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.builds(
        lambda low, more: {"type": "integer", "minimum": low, "maximum": low + more},
        numbers,
        st.integers(0, 9),
    ),
    st.builds(
        lambda low, more: {"type": "number", "minimum": low, "exclusiveMaximum": low + more},
        numbers,
        st.integers(1, 9),
    ),
    st.builds(
        lambda least, more: {"type": "string", "minLength": least, "maxLength": least + more},
        st.integers(0, 90),
        st.integers(0, 9),
    ),
    st.builds(lambda options: {"enum": options}, st.lists(st.text(), min_size=1, max_size=4)),
    st.builds(lambda value: {"const": value}, numbers),
    st.sampled_from(
        [
            {"type": "string", "pattern": r"^[A-Z]{2}-\d{3,5}$"},
            {"type": "string", "pattern": r"(yes|no|maybe)"},
            {"type": "string", "format": "date"},
            {"type": ["string", "null"]},
            {"type": "integer", "multipleOf": 7},
            {"type": "number", "maximum": -5},
            {},
        ]
    ),
)


def _objects(children: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    names = st.text("abcdef", min_size=1, max_size=3)
    closed = st.builds(
        lambda properties, open_: {
            "type": "object",
            "properties": properties,
            "required": sorted(properties)[::2],
            "additionalProperties": open_,
        },
        st.dictionaries(names, children, max_size=4),
        st.booleans(),
    )
    lists = st.builds(
        lambda items, least, more: {
            "type": "array",
            "items": items,
            "minItems": least,
            "maxItems": least + more,
        },
        children,
        st.integers(0, 3),
        st.integers(0, 3),
    )
    either = st.builds(lambda ways: {"anyOf": ways}, st.lists(children, min_size=1, max_size=3))
    return closed | lists | either


@given(schema=st.recursive(scalars, _objects, max_leaves=8), seed=seeds)
def test_generated_instance_is_valid_under_its_schema(schema: dict[str, Any], seed: bytes) -> None:
    instance = SchemaWriter(schema, seed).write()

    jsonschema.validate(json.loads(json.dumps(instance)), schema)


@given(seed=seeds)
def test_recursive_schema_generates_a_finite_instance(seed: bytes) -> None:
    schema = {
        "$defs": {
            "node": {
                "type": "object",
                "properties": {
                    "value": {"type": "integer"},
                    "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                    "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                },
                "required": ["value", "next"],
            }
        },
        "$ref": "#/$defs/node",
    }

    jsonschema.validate(SchemaWriter(schema, seed).write(), schema)


def test_enum_members_are_all_chosen_over_many_prompts() -> None:
    schema = {"enum": ["positive", "negative", "neutral"]}

    chosen = {SchemaWriter(schema, seed_of(b"%d" % n)).write() for n in range(60)}

    assert chosen == {"positive", "negative", "neutral"}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "colour"},
        {"enum": []},
        {"$ref": "#/$defs/none"},
        {"$ref": "https://example.org/schema"},
        {"type": "integer", "minimum": 3, "maximum": 2},
        {"type": "string", "pattern": "("},
        {"type": "object", "properties": {"a": 3}},
        {"$ref": "#"},
    ],
)
def test_unsupported_schema_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as refused:
        SchemaWriter(schema, b"0123456789abcdef").write()

    assert (refused.value.status, refused.value.code) == (400, "invalid_schema")


def test_structured_answer_over_http_is_valid_unless_truncated(api: EmulatorClient) -> None:
    endpoint, _ = api.serve()
    schema = {
        "type": "object",
        "properties": {
            "label": {"enum": ["spam", "ham"]},
            "score": {"type": "number", "minimum": 0, "maximum": 1},
            "tags": {"type": "array", "items": {"type": "string"}, "minItems": 2},
        },
        "required": ["label", "score", "tags"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "verdict", "schema": schema}}

    answers = [
        api.chat(endpoint["name"], f"mail {n}", response_format=wanted).json() for n in range(8)
    ]
    cut = api.chat(endpoint["name"], response_format=wanted, max_tokens=3).json()

    instances = [json.loads(a["choices"][0]["message"]["content"]) for a in answers]
    for instance in instances:
        jsonschema.validate(instance, schema)
    assert {instance["label"] for instance in instances} == {"spam", "ham"}
    assert cut["choices"][0]["finish_reason"] == "length"
    with pytest.raises(json.JSONDecodeError):
        json.loads(cut["choices"][0]["message"]["content"])


def test_json_mode_without_schema_returns_json(api: EmulatorClient) -> None:
    endpoint, _ = api.serve()

    answer = api.chat(endpoint["name"], response_format={"type": "json_object"}).json()

    assert isinstance(json.loads(answer["choices"][0]["message"]["content"]), dict)
