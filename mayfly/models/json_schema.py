"""Validation of responses against a JSON Schema."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jsonschema_rs
import orjson

from mayfly.models.errors import BadRequest
from mayfly.models.texts import cleaned

MAX_MESSAGE_CHARS = 500

MAX_CANDIDATES = 200
"""Positions in a response at which decoding of a JSON value is attempted."""

_KEYWORDS = frozenset(
    [
        "$dynamicRef",
        "$recursiveRef",
        "$ref",
        "additionalItems",
        "additionalProperties",
        "allOf",
        "anyOf",
        "const",
        "contains",
        "contentEncoding",
        "contentMediaType",
        "contentSchema",
        "dependencies",
        "dependentRequired",
        "dependentSchemas",
        "disallow",
        "divisibleBy",
        "else",
        "enum",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "extends",
        "format",
        "if",
        "items",
        "maxContains",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minContains",
        "minItems",
        "minLength",
        "minProperties",
        "minimum",
        "multipleOf",
        "not",
        "nullable",
        "oneOf",
        "pattern",
        "patternProperties",
        "prefixItems",
        "properties",
        "propertyNames",
        "required",
        "then",
        "type",
        "unevaluatedItems",
        "unevaluatedProperties",
        "uniqueItems",
    ]
)
"""Keywords that restrict something, of all drafts; any other is an annotation or not known.

Source: JSON Schema 2020-12, Core and Validation; drafts 3 to 7; OpenAPI 3.0 (`nullable`)."""

_FENCE = re.compile(r"```[A-Za-z0-9_+-]*[ \t]*\r?\n(.*?)```", re.DOTALL)
_THOUGHT = "</think>"


class Reading(NamedTuple):
    """A response read by a schema: its value, or what is wrong with it in one line."""

    value: Any
    wrong: str | None = None


class SchemaChecker:
    """Validates responses against a JSON Schema.

    Raises:
        BadRequest: The schema is not valid, refers to another document, or allows every value.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        try:
            self._validator = jsonschema_rs.validator_for(dict(schema), retriever=_retrieve)
        except (ValueError, jsonschema_rs.ReferencingError) as error:
            why = _short(getattr(error, "message", None) or str(error))
            where = "/".join(map(str, getattr(error, "instance_path", ())))
            raise BadRequest(
                f"--schema is not a valid JSON Schema: {f'at /{where}: ' if where else ''}{why}; "
                "correct it"
            ) from error
        if not schema.keys() & _KEYWORDS:
            raise BadRequest(
                "--schema allows every response: it has no keyword that says what a response must "
                'be; give one such as {"type": "object", "properties": {...}}'
            )

    def wrong(self, text: str) -> str | None:
        """Return what is wrong with a response, in one line; None if it is valid."""
        return self.read(text).wrong

    def read(self, text: str) -> Reading:
        """Return the value of a valid response: all of it, or the last valid JSON value in it.

        The value may be in a fenced block, after the thinking, or surrounded by text.
        """
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            problem = f"not JSON: {error}"
        else:
            if self._validator.is_valid(value):
                return Reading(value)
            return Reading(None, self._first_wrong(value))
        found = list(json_values(text))
        for value in reversed(found):
            if self._validator.is_valid(value):
                return Reading(value)
        return Reading(None, self._first_wrong(found[-1]) if found else _short(problem))

    def _first_wrong(self, value: Any) -> str:
        first = next(iter(self._validator.iter_errors(value)))
        return _short(f"at /{'/'.join(map(str, first.instance_path))}: {first.message}")


def json_values(text: str) -> Iterator[Any]:
    """Yield the JSON values in a text, in order: those in fenced blocks, else objects and lists.

    Thinking that is closed by `</think>` is skipped.
    """
    text = text[text.rfind(_THOUGHT) + len(_THOUGHT) :] if _THOUGHT in text else text
    text = text.strip().lstrip("\ufeff")
    try:
        yield orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    else:
        return
    fenced = [value for inside in _FENCE.findall(text) for value in _whole(inside)]
    yield from fenced or _scanned(text)


def _whole(text: str) -> list[Any]:
    try:
        return [orjson.loads(text.strip())]
    except orjson.JSONDecodeError:
        return list(_scanned(text))


def _scanned(text: str) -> Iterator[Any]:
    at, tried = 0, 0
    while tried < MAX_CANDIDATES and (found := _OPENING.search(text, at)):
        tried += 1
        try:
            value, at = _DECODER.raw_decode(text, found.start())
            yield cleaned(value)
        except (ValueError, RecursionError):
            at = found.start() + 1


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _retrieve(uri: str) -> Any:
    raise ValueError(f"{uri} is not in the schema, and nothing is fetched")


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= MAX_MESSAGE_CHARS else text[: MAX_MESSAGE_CHARS - 1] + "…"


_OPENING = re.compile(r"[{\[]")
_DECODER = json.JSONDecoder(strict=False, parse_constant=_no_constant)
