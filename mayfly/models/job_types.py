"""The types of a job's fields, with validators that parse text.

A validator raises ValueError with a message that continues the field's name: `is not JSON`.
"""

import json
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from mayfly.models.durations import PATTERN, read_span


def _seconds(given: object) -> object:
    return read_span(given) if isinstance(given, str) else given


def _unless_auto(given: object) -> object:
    return None if given == "auto" else given


def _several(given: object) -> object:
    return (given,) if isinstance(given, str) else given


Seconds = Annotated[
    float,
    Field(gt=0, allow_inf_nan=False),
    BeforeValidator(_seconds),
    # A form takes text; a call may pass a number of seconds as well.
    WithJsonSchema({"type": "string", "pattern": PATTERN}),
]
"""A duration in seconds, or as text such as `90m`."""

AUTO = BeforeValidator(_unless_auto)
"""Reads `auto` as unset."""

Texts = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_several)]
"""Several texts; a single text becomes a tuple of one."""


def _parsed(given: object) -> Any:
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given, parse_constant=_no_json)
    except ValueError as error:
        raise ValueError(f"is not JSON: {error}") from error


def _no_json(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


def _json_text(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise ValueError("is not JSON: NaN and Infinity are not JSON values") from error


def _schema_text(given: object) -> object:
    if given is None:
        return None
    value = _parsed(given)
    if not isinstance(value, dict):
        raise ValueError(  # noqa: TRY004 - pydantic reads these
            f"is not a JSON Schema, which is an object; this is {_kind(value)}"
        )
    schema = unwrapped_schema(value)
    # A bare schema that is text is kept: the fingerprints of earlier releases cover that text.
    return given if schema is value and isinstance(given, str) else _json_text(schema)


def unwrapped_schema(value: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON Schema in a wrapper: OpenAI's `response_format`, a tool, or what is in them.

    Source: https://platform.openai.com/docs/guides/structured-outputs (August 2026); the tools of
    OpenAI (`function.parameters`), Anthropic (`input_schema`) and MCP (`inputSchema`).
    """
    for outer in ("response_format", "text", "format", "function"):
        inside = value.get(outer)
        if isinstance(inside, dict) and value.keys() <= {outer, "type"}:
            value = inside
    for outer in ("input_schema", "inputSchema", "parameters"):
        inside = value.get(outer)
        if isinstance(inside, dict) and value.keys() <= (_WRAPPER - {"schema"}) | {outer}:
            return inside
    if value.get("type") == "json_schema" and isinstance(value.get("json_schema"), dict):
        value = value["json_schema"]
    if isinstance(value.get("schema"), dict) and value.keys() <= _WRAPPER:
        inner: dict[str, Any] = value["schema"]
        return inner
    return value


_WRAPPER = {"name", "description", "schema", "strict", "type"}


def _tools_text(given: object) -> object:
    if given is None:
        return None
    value = _parsed(given)
    named = isinstance(value, list) and all(
        isinstance(tool, dict)
        and isinstance(tool.get("function"), dict)
        and isinstance(tool["function"].get("name"), str)
        for tool in value
    )
    if not named or not value:
        raise ValueError(
            'is not a list of tools, such as [{"type": "function", "function": {"name": ...}}]'
        )
    return _json_text(value)


RESERVED = ("model", "messages", "prompt", "input", "stream")
"""Fields of a request that the job itself sets."""


def _body_text(given: object) -> object:
    if given is None:
        return None
    value = _parsed(given)
    if not isinstance(value, dict):
        raise ValueError(f"is not a JSON object; this is {_kind(value)}")  # noqa: TRY004
    if taken := [name for name in RESERVED if name in value]:
        raise ValueError(f"cannot set {taken[0]!r}, which comes from the job itself")
    return _json_text(value)


def _kind(value: object) -> str:
    if value is None:
        return "null"
    kinds = {dict: "an object", list: "a list", str: "text", bool: "true or false"}
    return kinds.get(type(value), "a number")


# As text, because Prefect resolves every object with a `$ref` among a flow's parameters as one of
# its blocks, and fails.
SchemaText = Annotated[str | None, BeforeValidator(_schema_text)]
ToolsText = Annotated[str | None, BeforeValidator(_tools_text)]
BodyText = Annotated[str | None, BeforeValidator(_body_text)]


def _tag_values(given: object) -> object:
    if isinstance(given, str):
        given = (given,)
    if not isinstance(given, list | tuple):
        return given
    values: dict[str, str] = {}
    for text in given:
        name, equals, value = str(text).partition("=")
        if not equals or not name.strip():
            raise ValueError(f"must be KEY=VALUE, not {text!r}")
        values[name.strip()] = value
    return values


Tags = Annotated[
    dict[str, str],
    BeforeValidator(_tag_values),
    # Forms have no fields for arbitrary keys.
    WithJsonSchema({"type": "array", "items": {"type": "string", "pattern": "^[^=]+=.*$"}}),
]
"""Tags by key; a list of `KEY=VALUE` is accepted as well."""
