"""The sandbox of templates: no single operation creates a huge value or an endless loop.

These are deterministic limits. What they do not catch is limited by the process that renders such
templates.
"""

import re
import threading
from collections.abc import Callable, Sequence
from typing import Any

from jinja2 import pass_context
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from mayfly.inference.cell_text import PLAIN, Row, as_json, view

LONGEST = 10_000_000
"""Maximum characters of one prompt, or of one intermediate text."""

MAX_STEPS = 1_000_000
"""Maximum total length of all `range` calls of one row."""

_WIDTH = re.compile(r"[%{][^%{}]*\d{6}")
_FORMATTING = frozenset({"format", "format_map"})
_WIDENING = frozenset({"ljust", "rjust", "center", "zfill", "expandtabs"})


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja2's sandbox with limits; call `begin_row` before each rendering."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def __init__(self, **options: Any) -> None:
        # Constants would be folded at compile time, where nothing limits them, unless `finalize`
        # needs the context.
        super().__init__(finalize=pass_context(_shown_in), optimized=False, **options)
        # State of the row that a thread renders.
        self._row = threading.local()
        del self.globals["lipsum"]
        del self.filters["random"]
        self.globals["range"] = self._range
        for name in ("center", "indent"):
            self.filters[name] = _narrow(self.filters[name])
        self.filters["format"] = _short_format
        self.filters["tojson"] = _tojson

    def begin_row(self) -> None:
        """Reset the step counter for another row."""
        self._row.steps = 0

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return an attribute; for `row` the column of this name, before methods of dict."""
        if type(obj) is Row and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "**":
            if isinstance(left, int) and isinstance(right, int):
                _allow(left.bit_length() * right // 64)
        elif operator == "*":
            for one, other in ((left, right), (right, left)):
                if isinstance(one, str | bytes | list | tuple) and isinstance(other, int):
                    _allow(len(one) * other)
        elif isinstance(left, str):
            _allow_format(left)
            right = tuple(map(_shown, right)) if isinstance(right, tuple) else right
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, str):
            name = getattr(__obj, "__name__", "")
            if name in _FORMATTING:
                _allow_format(owner)
            elif name in _WIDENING:
                _allow_widths(args, kwargs)
        return super().call(__context, __obj, *args, **kwargs)

    def _range(self, *args: int) -> range:
        steps = range(*args)
        self._row.steps = getattr(self._row, "steps", 0) + len(steps)
        if self._row.steps > MAX_STEPS:
            raise SecurityError(f"loops of more than {MAX_STEPS:,} steps")
        return steps


def _shown_in(_context: Context, value: Any) -> Any:
    return _shown(value)


def _shown(value: Any) -> Any:
    """Return the rendered form of a value: nested values as JSON, never as Python's repr."""
    if type(value) in PLAIN or not isinstance(value, list | tuple | dict | bytes):
        return value
    found = view(value)
    return found if isinstance(found, str) else as_json(found)


def _tojson(value: Any, indent: int | None = None) -> str:
    """Return a value as JSON for a model, without HTML escapes."""
    if indent is not None:
        _allow_widths((indent * 1000,), {})
    return as_json(view(value), indent)


def _allow(length: int) -> None:
    if length > LONGEST:
        raise SecurityError(f"a value longer than {LONGEST:,}")


def _allow_format(text: str) -> None:
    if _WIDTH.search(text):
        raise SecurityError("a format with a width of more than five digits")


def _allow_widths(args: Sequence[Any], kwargs: dict[str, Any]) -> None:
    for value in (*args, *kwargs.values()):
        if isinstance(value, int):
            _allow(value)


def _narrow(filter_: Callable[..., Any]) -> Callable[..., Any]:
    def bounded(*args: Any, **kwargs: Any) -> Any:
        _allow_widths(args[1:], kwargs)
        return filter_(*args, **kwargs)

    return bounded


def _short_format(text: Any, *args: Any, **kwargs: Any) -> str:
    _allow_format(str(text))
    return str(text) % (kwargs or args)
