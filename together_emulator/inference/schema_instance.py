"""Generate an instance of a JSON Schema from a hash, like a model constrained by the schema.

Source: Together API, structured outputs (`response_format`).
"""

import hashlib
import math
from collections.abc import Mapping
from typing import Any

from together_emulator.http.errors import ApiError, bad_request
from together_emulator.inference.pattern_instance import UnsupportedPattern, text_like
from together_emulator.inference.text import answer_tokens

_DEEPEST = 24
_FORMATS = {
    "date": "2025-{0:02d}-{1:02d}",
    "time": "{0:02d}:{1:02d}:00Z",
    "date-time": "2025-{0:02d}-{1:02d}T09:30:00Z",
    "email": "person{0}@example.org",
    "uri": "https://example.org/{0}/{1}",
    "uuid": "00000000-0000-4000-8000-0000000{0:02d}{1:03d}",
    "ipv4": "192.0.2.{0}",
    "hostname": "host{0}.example.org",
}


def bad_schema(why: str) -> ApiError:
    """Return the 400 for an invalid or unsupported schema."""
    return bad_request(
        f"response_format.json_schema.schema: {why}", param="response_format", code="invalid_schema"
    )


class SchemaWriter:
    """Generates one instance of one schema."""

    def __init__(self, schema: Any, seed: bytes) -> None:
        """Store the schema, with `$ref`s within itself, and the seed of the choices."""
        self._root = schema
        self._seed = seed
        self._stream = b""
        self._at = 0
        self._blocks = 0

    def write(self) -> Any:
        """Return the instance as plain values (400 for an unsupported schema)."""
        return self._value(self._root, 0)

    def _below(self, count: int) -> int:
        """Return the next choice, 0 to count - 1."""
        if self._at + 4 > len(self._stream):
            self._blocks += 1
            self._stream = hashlib.shake_128(self._seed + bytes([self._blocks % 256])).digest(256)
            self._at = 0
        number = int.from_bytes(self._stream[self._at : self._at + 4], "big")
        self._at += 4
        return number % count

    def _value(self, schema: Any, depth: int) -> Any:  # noqa: C901, PLR0911, PLR0912
        if schema is True or schema == {}:
            return self._words(2, 5)
        if not isinstance(schema, Mapping):
            raise bad_schema(f"{schema!r} is no schema")
        if depth > _DEEPEST:
            raise bad_schema("it nests without end")
        if "$ref" in schema:
            return self._value(self._resolve(schema["$ref"]), depth + 1)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            options = schema["enum"]
            if not isinstance(options, list) or not options:
                raise bad_schema("enum must be a list that is not empty")
            return options[self._below(len(options))]
        if "allOf" in schema:
            return self._value(_merged(schema, self._resolved(schema["allOf"])), depth + 1)
        for union in ("anyOf", "oneOf"):
            if union in schema:
                options = schema[union]
                if not isinstance(options, list) or not options:
                    raise bad_schema(f"{union} must be a list that is not empty")
                rest = {name: rule for name, rule in schema.items() if name != union}
                ways = self._resolved(options)
                if depth > 4:
                    ways.sort(key=lambda way: "properties" in way or "items" in way)
                    return self._value(_merged(rest, ways[:1]), depth + 1)
                return self._value(_merged(rest, [ways[self._below(len(ways))]]), depth + 1)
        match self._type(schema, depth):
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, depth)
            case "string":
                return self._string(schema)
            case "integer":
                return self._integer(schema)
            case "number":
                return self._number(schema)
            case "boolean":
                return bool(self._below(2))
            case "null":
                return None
            case other:
                raise bad_schema(f"unknown type {other!r}")

    def _type(self, schema: Mapping[str, Any], depth: int) -> Any:  # noqa: PLR0911
        kind = schema.get("type")
        if isinstance(kind, list) and kind:
            if depth > 4 and "null" in kind:
                return "null"
            return kind[self._below(len(kind))]
        if kind is not None:
            return kind
        if "properties" in schema or "required" in schema:
            return "object"
        if "items" in schema or "prefixItems" in schema:
            return "array"
        if "minimum" in schema or "maximum" in schema or "multipleOf" in schema:
            return "number"
        return "string"

    def _resolved(self, options: list[Any]) -> list[dict[str, Any]]:
        found = []
        for option in options:
            target = option
            while isinstance(target, Mapping) and "$ref" in target:
                target = self._resolve(target["$ref"])
            found.append(dict(target) if isinstance(target, Mapping) else {})
        return found

    def _resolve(self, pointer: Any) -> Any:
        if not isinstance(pointer, str) or not pointer.startswith("#"):
            raise bad_schema(f"$ref {pointer!r} does not point into the schema")
        target = self._root
        for part in pointer.lstrip("#").strip("/").split("/") if pointer != "#" else ():
            name = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(target, Mapping) or name not in target:
                raise bad_schema(f"$ref {pointer!r} leads nowhere")
            target = target[name]
        return target

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties") or {}
        required = schema.get("required") or []
        if not isinstance(properties, Mapping) or not isinstance(required, list):
            raise bad_schema("properties must be an object and required a list")
        # At depth, only required properties are generated, so that recursive schemas terminate.
        names = [name for name in properties if depth <= 4 or name in required]
        value = {name: self._value(properties[name], depth + 1) for name in names}
        extra = schema.get("additionalProperties", True)
        for name in required:
            if name not in value:
                value[name] = self._value(extra if isinstance(extra, Mapping) else {}, depth + 1)
        for index in range(len(value), schema.get("minProperties", 0)):
            rule = extra if isinstance(extra, Mapping) else {}
            value[f"key_{index}"] = self._value(rule, depth + 1)
        return value

    def _array(self, schema: Mapping[str, Any], depth: int) -> list[Any]:
        head = [self._value(item, depth + 1) for item in schema.get("prefixItems") or []]
        least = schema.get("minItems", 0)
        most = schema.get("maxItems", max(least, least + 2))
        rule = schema.get("items", True)
        if rule is False:
            return head
        more = 0 if depth > 4 else 1 + self._below(2)
        wanted = min(most, max(least, len(head) + more))
        tries = 0
        while len(head) < wanted:
            item = self._value(rule, depth + 1)
            tries += 1
            if schema.get("uniqueItems") and item in head:
                if tries > 64 * wanted:
                    if len(head) >= schema.get("minItems", 0):
                        break
                    raise bad_schema("uniqueItems asks for more than there are")
                continue
            head.append(item)
        return head

    def _words(self, shortest: int, longest: int) -> str:
        seed = self._seed + self._below(2**32).to_bytes(4, "big")
        return "".join(answer_tokens(seed.ljust(8, b"\0"), shortest + 1, longest + 1))[:-1]

    def _string(self, schema: Mapping[str, Any]) -> str:
        if "pattern" in schema:
            try:
                return text_like(str(schema["pattern"]), self._below)
            except UnsupportedPattern as error:
                raise bad_schema(str(error)) from None
        if schema.get("format") in _FORMATS:
            return _FORMATS[schema["format"]].format(1 + self._below(12), 1 + self._below(28))
        least, most = schema.get("minLength", 0), schema.get("maxLength", math.inf)
        text = self._words(3, 12)
        while len(text) < least:
            text += f" {self._words(3, 12)}"
        return text if len(text) <= most else text[: int(most)]

    def _integer(self, schema: Mapping[str, Any]) -> int:
        low, high = _bounds(schema, 1)
        step = int(schema.get("multipleOf", 1)) or 1
        first = math.ceil(low / step)
        last = math.floor(high / step)
        if first > last:
            raise bad_schema(f"no integer lies between {low:g} and {high:g}")
        return (first + self._below(last - first + 1)) * step

    def _number(self, schema: Mapping[str, Any]) -> float:
        if "multipleOf" in schema:
            step = schema["multipleOf"]
            low, high = _bounds(schema, step)
            first, last = math.ceil(low / step), math.floor(high / step)
            if first > last:
                raise bad_schema(f"no multiple of {step:g} lies between {low:g} and {high:g}")
            return float((first + self._below(last - first + 1)) * step)
        low, high = _bounds(schema, 0)
        if low > high:
            raise bad_schema(f"no number lies between {low:g} and {high:g}")
        inside = low + (high - low) * (1 + self._below(999)) / 1000
        short = round(inside, 3)
        return short if low < short < high else inside


def _bounds(schema: Mapping[str, Any], step: float) -> tuple[float, float]:
    low = schema.get("minimum")
    high = schema.get("maximum")
    if (above := schema.get("exclusiveMinimum")) is not None:
        low = above + step if low is None else max(low, above + step)
    if (below := schema.get("exclusiveMaximum")) is not None:
        high = below - step if high is None else min(high, below - step)
    if low is None:
        low = 0 if high is None or high >= 0 else high - 100
    if high is None:
        high = low + 100
    return low, high


def _merged(base: Mapping[str, Any], parts: list[dict[str, Any]]) -> dict[str, Any]:
    merged = {name: rule for name, rule in base.items() if name != "allOf"}
    for part in parts:
        for name, rule in part.items():
            if name == "properties":
                merged[name] = {**merged.get(name, {}), **rule}
            elif name == "required":
                merged[name] = [*merged.get(name, []), *rule]
            else:
                merged[name] = rule
    return merged
