"""Convert cells for prompts: nested values become JSON text, not Python's repr."""

import json
from collections.abc import Sequence
from typing import Any

from mayfly.models.failures import BAD_CELL

PLAIN = frozenset({str, int, float, bool, type(None)})
"""Types of cells that need no conversion."""


class RowError(ValueError):
    """A row cannot be sent; the message says why.

    Attributes:
        kind: A class of `mayfly.models.failures`.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class BadCell:
    """Placeholder for a cell that cannot be used; `error` is raised when its row is rendered."""

    __slots__ = ("error",)

    def __init__(self, error: RowError) -> None:
        self.error = error


class _RendersAsJson:
    """Mixin for collections that a template renders as JSON."""

    __slots__ = ()

    def __str__(self) -> str:
        return as_json(self)

    __repr__ = __str__

    def __format__(self, spec: str) -> str:
        return format(as_json(self), spec)


class JsonList(_RendersAsJson, list[Any]):
    """A list that a template renders as JSON."""

    __slots__ = ()


class JsonDict(_RendersAsJson, dict[Any, Any]):
    """An object that a template renders as JSON."""

    __slots__ = ()


class Row(JsonDict):
    """All cells of a row by name: `row['any name']` in a template."""

    __slots__ = ()


def usable(column: str, cells: Sequence[Any]) -> Sequence[Any]:
    """Return the cells of a column, converted for templates and prompts.

    Bytes are decoded as UTF-8, lists and objects render as JSON, and a cell that cannot be used is
    a `BadCell`. Columns of text and numbers, which are the most common, are returned unchanged.
    """
    if set(map(type, cells)) <= PLAIN:
        return cells
    return [_usable(column, cell) for cell in cells]


def _usable(column: str, cell: Any) -> Any:
    if type(cell) in PLAIN:
        return cell
    try:
        found = view(cell)
        if not isinstance(found, JsonList | JsonDict):
            str(found)  # An unreadable cell raises here.
    except UnicodeDecodeError:
        return BadCell(RowError(BAD_CELL, f"column {column} has bytes that are not UTF-8 text"))
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        message = " ".join(str(error).split()) or type(error).__name__
        return BadCell(RowError(BAD_CELL, f"column {column}: {message}"))
    return found


def view(value: Any) -> Any:
    """Return a value with lists and objects that render as JSON and bytes as text, at any depth.

    Raises:
        UnicodeDecodeError: Bytes that are not UTF-8.
    """
    if type(value) in PLAIN:
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode()
    if isinstance(value, dict):
        return JsonDict((key, view(inner)) for key, inner in value.items())
    if isinstance(value, list | tuple):
        return JsonList(map(view, value))
    return value


def as_json(value: Any, indent: int | None = None) -> str:
    """Return a value as JSON text; a type without a JSON form, such as a date, as its text."""
    return json.dumps(value, ensure_ascii=False, indent=indent, default=str)


def without_nulls(value: Any) -> Any:
    """Return a JSON value without null fields, at any depth; bytes become text.

    Arrow gives every struct of a column all fields, so a null field was not in the data.

    Raises:
        UnicodeDecodeError: Bytes that are not UTF-8.
    """
    if type(value) in PLAIN:
        return value
    if isinstance(value, dict):
        return {key: without_nulls(one) for key, one in value.items() if one is not None}
    if isinstance(value, list | tuple):
        return [without_nulls(one) for one in value]
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode()
    return value
