"""JSON Schemas of users, and responses parsed by them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mayfly.models.errors import BadRequest
from mayfly.models.job_types import unwrapped_schema
from mayfly.models.json_schema import SchemaChecker, json_values

ANSWER = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
    "additionalProperties": False,
}
CHECKER = SchemaChecker(ANSWER)
GOOD = {"answer": "4"}


@pytest.mark.parametrize(
    "text",
    [
        '{"answer": "4"}',
        ' \ufeff\n{"answer": "4"}\n',
        '```json\n{"answer": "4"}\n```',
        'Here it is:\n```\n{"answer": "4"}\n```\nAnything else?',
        '<think>{"answer": 5} no, that is no string</think>\n\n{"answer": "4"}',
        'let me see {</think>```json\n{"answer": "4"}```',
        'First {"answer": 3}, or {"answer": "3"}; no: {"answer": "4"}',
        'I mean {"answer": "4"} and not [1, 2]',
        '```json\n{"draft": 1}\n```\n```json\n{"answer": "4"}\n```',
        '{"answer": "4"}<|end|>',
    ],
)
def test_json_is_extracted_from_surrounding_text(text: str) -> None:
    assert CHECKER.read(text) == (GOOD, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no JSON here", "not JSON"),
        ('{"answer": 4}', "at /answer"),
        ('```json\n{"answer": 4}\n```', "at /answer"),
        ("", "not JSON"),
        ('{"answer": "4"', "not JSON"),
    ],
)
def test_json_that_does_not_fit_says_why(text: str, expected: str) -> None:
    value, wrong = CHECKER.read(text)

    assert value is None
    assert expected in (wrong or "")


@given(st.text() | st.text(alphabet='{}[]"`:,a1 \\n\\\\u', max_size=60))
def test_any_text_is_searched_without_an_exception(text: str) -> None:
    value, wrong = CHECKER.read(text)

    assert (value is None) != (wrong is None)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[1," * 50_000])
def test_text_of_many_brackets_is_given_up_soon(text: str) -> None:
    assert list(json_values(text)) == []


def test_lone_surrogate_in_a_value_is_replaced() -> None:
    assert CHECKER.read('{"answer": "a\\ud83d"}').value == {"answer": "a\ufffd"}


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"title": "Answer", "description": "anything"},
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "$defs": {"a": {}}},
        {"json_output": ANSWER},
    ],
)
def test_schema_that_allows_everything_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match="--schema allows every response"):
        SchemaChecker(schema)


@pytest.mark.parametrize("schema", [{"type": 7}, {"$ref": "#/$defs/none"}])
def test_schema_that_is_not_valid_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match="--schema is not a valid JSON Schema"):
        SchemaChecker(schema)


@pytest.mark.parametrize(
    "wrapped",
    [
        ANSWER,
        {"name": "answer", "strict": True, "schema": ANSWER},
        {"type": "json_schema", "json_schema": {"name": "answer", "schema": ANSWER}},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "a", "schema": ANSWER},
            }
        },
        {"text": {"format": {"type": "json_schema", "name": "answer", "schema": ANSWER}}},
        {"type": "function", "function": {"name": "answer", "parameters": ANSWER}},
        {"type": "function", "name": "answer", "parameters": ANSWER, "strict": True},
        {"name": "answer", "description": "d", "input_schema": ANSWER},
        {"name": "answer", "inputSchema": ANSWER},
    ],
)
def test_schema_in_a_wrapper_is_unwrapped(wrapped: dict[str, Any]) -> None:
    assert unwrapped_schema(wrapped) == ANSWER


def test_schema_of_properties_with_a_wrappers_names_is_unchanged() -> None:
    schema = {"type": "object", "properties": {"schema": ANSWER, "parameters": ANSWER}}

    assert unwrapped_schema(schema) is schema
