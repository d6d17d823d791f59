"""Unify the schemas of files: which types are compatible, and how values are converted.

Only lossless conversions are made: a null column to any type, integers and decimals to wider ones,
integers to floats (checked value by value), string to large_string, a dictionary to its values,
structs and lists by their elements; a column that a file lacks is null.
"""

from collections.abc import Callable, Sequence

import orjson
import pyarrow as pa

Mixed = str | None
"""How incompatible types are unified: `json` or `text` (see `unified`); None raises."""

JSON_MARK = {b"mayfly.json": b"1"}
"""Metadata of a text column with cells that are JSON, because its values had several types."""


class TypesDiffer(ValueError):
    """Two types are incompatible."""


def is_json(field: pa.Field) -> bool:
    """Whether a column's cells are JSON texts of values of mixed types."""
    return (field.metadata or {}).get(b"mayfly.json") == b"1"


def unified(one: pa.Field, other: pa.Field, mixed: Mixed = None) -> pa.Field:
    """Return a field that can hold the values of both.

    Args:
        mixed: `json` converts incompatible types to JSON text, `text` an integer and a string
            column to plain text.

    Raises:
        TypesDiffer: They are incompatible, and `mixed` is None.
    """
    nullable = one.nullable or other.nullable
    if is_json(one) or is_json(other):
        return pa.field(one.name, pa.string(), metadata=JSON_MARK)
    try:
        kind = _both(one.type, other.type)
    except TypesDiffer:
        if mixed == "json":
            return pa.field(one.name, pa.string(), metadata=JSON_MARK)
        if mixed == "text":
            return pa.field(one.name, pa.string())
        raise
    return one.with_type(kind).with_nullable(nullable=nullable)


def text_dictionaries(schema: pa.Schema) -> list[str]:
    """Return the columns of texts that are kept in dictionaries, to be read as such.

    Arrow decodes them otherwise, and makes dictionaries again, which fails for a whole row group
    where one text is not UTF-8.
    """
    return [
        field.name
        for field in schema
        if pa.types.is_dictionary(field.type) and pa.types.is_string(field.type.value_type)
    ]


def fit(array: pa.Array, was: pa.Field | None, field: pa.Field) -> pa.Array:
    """Return a column of a file, converted to the unified schema.

    Raises:
        pa.ArrowInvalid: The type cannot hold a value exactly.
    """
    if is_json(field) and (was is None or not is_json(was)):
        return json_texts(array)
    return _cast(array, field.type)


def json_texts(array: pa.Array) -> pa.Array:
    """Return values as JSON texts; nulls stay null."""
    texts = [None if v is None else orjson.dumps(v).decode() for v in array.to_pylist()]
    return pa.array(texts, pa.string())


def merged(one: pa.Schema, other: pa.Schema, mixed: Mixed = None) -> pa.Schema:
    """Return a schema for the rows of both, with the columns of the first in front.

    Raises:
        TypesDiffer: See `unified`.
    """
    if one.equals(other, check_metadata=True):
        return one
    fields = {field.name: field for field in one}
    for field in other:
        known = fields.get(field.name)
        fields[field.name] = field if known is None else unified(known, field, mixed)
    fields = {
        name: field.with_nullable(nullable=True)
        if name not in one.names or name not in other.names
        else field
        for name, field in fields.items()
    }
    return pa.schema(list(fields.values()), metadata=one.metadata)


def fitted(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return a batch with the columns of a wider schema."""
    names = batch.schema.names
    arrays = [
        fit(batch.column(names.index(field.name)), batch.schema.field(field.name), field)
        if field.name in names
        else pa.nulls(batch.num_rows, field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _both(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    if one.equals(other):
        return one
    for rule in _RULES:
        found = rule(one, other)
        if found is None:
            found = rule(other, one)
        if found is not None:
            return found
    raise TypesDiffer(f"{one} and {other}")


def _null(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    return other if pa.types.is_null(one) else None


def _dictionary(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    if not pa.types.is_dictionary(one):
        return None
    return _both(one.value_type, other.value_type if pa.types.is_dictionary(other) else other)


def _numbers(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    types = pa.types
    if types.is_decimal(one) and types.is_decimal(other):
        return _decimal(one, other)
    if types.is_integer(one) and types.is_integer(other):
        signed_one, signed_other = types.is_signed_integer(one), types.is_signed_integer(other)
        if signed_one == signed_other:
            return one if one.bit_width >= other.bit_width else other
        unsigned = other if signed_one else one
        return pa.int64() if unsigned.bit_width < 64 else None
    if types.is_floating(one) and types.is_floating(other):
        return one if one.bit_width >= other.bit_width else other
    # Casting checks each value: an integer beyond 2**53 is rejected, not rounded.
    return pa.float64() if types.is_integer(one) and types.is_floating(other) else None


def _decimal(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Return a decimal with the digits of both, before and behind the point."""
    scale = max(one.scale, other.scale)
    precision = scale + max(one.precision - one.scale, other.precision - other.scale)
    if max(one.bit_width, other.bit_width) > 128 or precision > 38:
        return pa.decimal256(precision, scale) if precision <= 76 else None
    return pa.decimal128(precision, scale)


_TEXTS = (pa.string(), pa.string_view(), pa.large_string())
_BYTES = (pa.binary(), pa.binary_view(), pa.large_binary())


def _strings(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    for family in (_TEXTS, _BYTES):
        if one in family and other in family:
            return family[max(family.index(one), family.index(other))]
    return None


def _times(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    if not (pa.types.is_timestamp(one) and pa.types.is_timestamp(other)) or one.tz != other.tz:
        return None
    units = ["s", "ms", "us"]  # Nanoseconds hold no year beyond 2262.
    if one.unit in units and other.unit in units:
        return one if units.index(one.unit) >= units.index(other.unit) else other
    return None


def _nested(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    types = pa.types
    if types.is_struct(one) and types.is_struct(other):
        fields = {f.name: f for f in one}
        for f in other:
            known = fields.get(f.name)
            fields[f.name] = f if known is None else known.with_type(_both(known.type, f.type))
        return pa.struct(list(fields.values()))
    lists = [types.is_list(t) or types.is_large_list(t) for t in (one, other)]
    if all(lists):
        make = pa.large_list if types.is_large_list(one) or types.is_large_list(other) else pa.list_
        return make(_both(one.value_type, other.value_type))
    return None


_RULES: Sequence[Callable[[pa.DataType, pa.DataType], pa.DataType | None]] = (
    _null,
    _dictionary,
    _numbers,
    _strings,
    _times,
    _nested,
)


def _cast(array: pa.Array, kind: pa.DataType) -> pa.Array:
    if array.type.equals(kind):
        return array
    types = pa.types
    if types.is_null(array.type):
        return pa.nulls(len(array), kind)
    if types.is_struct(kind):
        names = [f.name for f in array.type]
        flat = dict(zip(names, array.flatten(), strict=True))
        rows = len(array)
        children = [
            _cast(flat[f.name], f.type) if f.name in flat else pa.nulls(rows, f.type) for f in kind
        ]
        return pa.StructArray.from_arrays(children, fields=list(kind), mask=array.is_null())
    if (types.is_list(kind) or types.is_large_list(kind)) and kind != array.type:
        make = pa.LargeListArray if types.is_large_list(kind) else pa.ListArray
        offsets = array.offsets.cast(pa.int64() if types.is_large_list(kind) else pa.int32())
        values = _cast(array.values, kind.value_type)
        return make.from_arrays(offsets, values, type=kind, mask=array.is_null())
    return array.cast(kind)
