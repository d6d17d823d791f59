"""Convert cells to plain Python values; one that cannot be converted raises when it is used."""

from typing import Any, NoReturn

import pyarrow as pa


class UnreadableCell:
    """A value that Arrow can hold and Python cannot, such as text that is not UTF-8.

    Every use raises `ValueError`, so that only its row has an error.
    """

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def _raise(self, *_: object) -> NoReturn:
        raise ValueError(self.reason)

    __str__ = __format__ = __len__ = __iter__ = __getitem__ = __bool__ = _raise
    __eq__ = __add__ = __radd__ = __mod__ = __contains__ = __lt__ = __int__ = __float__ = _raise
    __hash__ = None  # type: ignore[assignment]

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise ValueError(self.reason)

    def __repr__(self) -> str:
        return f"UnreadableCell({self.reason!r})"


def cell_values(column: pa.Array) -> list[Any]:
    """Return the cells of a column; a cell that cannot be converted is an `UnreadableCell`."""
    try:
        return list(column.to_pylist(maps_as_pydicts="strict"))
    except (ValueError, OverflowError, TypeError, pa.ArrowException, KeyError, LookupError):
        return [_value(cell) for cell in column]


def shown(value: Any) -> str:
    """Return a cell as text for people; for an unreadable one, the reason."""
    return f"({value.reason})" if isinstance(value, UnreadableCell) else str(value)


def _value(cell: Any) -> Any:
    try:
        return cell.as_py(maps_as_pydicts="strict")
    except UnicodeDecodeError as error:
        return UnreadableCell(f"text is not UTF-8: {error.reason} at byte {error.start}")
    except (ValueError, OverflowError, TypeError, pa.ArrowException, LookupError) as error:
        words = error.args[0] if isinstance(error, KeyError) and error.args else error
        reason = " ".join(str(words).split()) or type(error).__name__
        return UnreadableCell(f"{cell.type} value cannot be read: {reason}")
