"""Convert a JSON Schema to an Arrow type, and JSON values to that type.

A schema without a single type (several types, an open object, a recursive reference) becomes JSON
text. Values are never rejected: one that does not fit its column becomes null, and the answer's
text still has it.

Source: JSON Schema 2020-12, and `definitions` of the drafts before it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote

import orjson
import pyarrow as pa

Convert = Callable[[Any], Any]

DEEPEST = 32
"""Maximum depth of typed objects and arrays; deeper ones are JSON text."""

_INT64 = 2**63


class Typed(NamedTuple):
    """An Arrow type, and the conversion from parsed JSON (None for a value that does not fit)."""

    type: pa.DataType
    convert: Convert


def arrow_type(schema: Mapping[str, Any]) -> Typed:
    """Return the column type for values of a schema; never fails for a valid schema."""
    return _Types(schema).typed(schema, ())


class _Types:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root

    def typed(self, schema: Any, above: tuple[int, ...]) -> Typed:
        """Return a schema's type; `above` are the enclosing schemas, by identity."""
        if not isinstance(schema, Mapping) or id(schema) in above or len(above) > DEEPEST:
            return JSON_TEXT
        above = (*above, id(schema))
        if "$ref" in schema:
            return self.typed(self._find(schema["$ref"]), above)
        for name in ("anyOf", "oneOf", "allOf"):
            if name in schema and not schema.keys() & {"type", "properties", "enum", "const"}:
                return self._one_of(schema[name], above)
        kind = _kind(schema)
        if kind == "object":
            return self._object(schema, above)
        if kind == "array":
            return self._array(schema, above)
        return _PLAIN.get(kind or "", JSON_TEXT)

    def _one_of(self, choices: Any, above: tuple[int, ...]) -> Typed:
        """Return the type of the only choice that is not null."""
        if not isinstance(choices, Sequence):
            return JSON_TEXT
        real = [choice for choice in choices if _kind(choice) != "null"]
        return self.typed(real[0], above) if len(real) == 1 else JSON_TEXT

    def _object(self, schema: Mapping[str, Any], above: tuple[int, ...]) -> Typed:
        properties = schema.get("properties")
        if not isinstance(properties, Mapping) or not properties:
            return JSON_TEXT
        fields = {name: self.typed(inner, above) for name, inner in properties.items()}
        kind = pa.struct([pa.field(name, typed.type) for name, typed in fields.items()])
        converts = [(name, typed.convert) for name, typed in fields.items()]

        def convert(value: Any) -> Any:
            if not isinstance(value, dict):
                return None
            return {name: inner(value.get(name)) for name, inner in converts}

        return Typed(kind, convert)

    def _array(self, schema: Mapping[str, Any], above: tuple[int, ...]) -> Typed:
        tuple_like = "prefixItems" in schema or isinstance(schema.get("items"), list)
        item = JSON_TEXT if tuple_like else self.typed(schema.get("items"), above)

        def convert(value: Any) -> Any:
            return [item.convert(one) for one in value] if isinstance(value, list) else None

        return Typed(pa.list_(item.type), convert)

    def _find(self, reference: Any) -> Any:
        """Return the target of a reference within the schema; None for any other reference."""
        if not isinstance(reference, str) or not reference.startswith("#"):
            return None
        found: Any = self._root
        for step in reference[1:].split("/")[1:]:
            key = unquote(step).replace("~1", "/").replace("~0", "~")
            try:
                found = found[int(key)] if isinstance(found, list) else found[key]
            except (LookupError, ValueError, TypeError):
                return None
        return found if reference == "#" or reference.startswith("#/") else None


def _kind(schema: Any) -> str | None:
    """Return the only JSON type that a schema allows besides null; None if there are several."""
    if not isinstance(schema, Mapping):
        return None
    given = schema.get("type")
    if given is None:
        values = schema.get("enum", [schema["const"]] if "const" in schema else None)
        if isinstance(values, list):
            given = sorted({_NAMES[type(value)] for value in values})
        elif "properties" in schema:
            given = "object"
    kinds = [given] if isinstance(given, str) else list(given or [])
    if kinds == ["null"]:
        return "null"
    kinds = [kind for kind in kinds if kind != "null"]
    if set(kinds) == {"integer", "number"}:
        return "number"
    return kinds[0] if len(kinds) == 1 else None


_NAMES: dict[type, str] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    type(None): "null",
    dict: "object",
    list: "array",
}


def _json(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _boolean(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _integer(value: Any) -> int | None:
    # In JSON Schema 1.0 is an integer.
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    fits = isinstance(value, int) and not isinstance(value, bool) and -_INT64 <= value < _INT64
    return value if fits else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


JSON_TEXT = Typed(pa.string(), _json)
_PLAIN = {
    "string": Typed(pa.string(), _string),
    "boolean": Typed(pa.bool_(), _boolean),
    "integer": Typed(pa.int64(), _integer),
    "number": Typed(pa.float64(), _number),
    "null": Typed(pa.null(), lambda _value: None),
}
