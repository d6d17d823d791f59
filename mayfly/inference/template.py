"""Prompt templates: Jinja2 in a sandbox, bounded in what one row may cost.

A template is compiled once and rendered for every row, so it says the same of the same row each
time: what draws by chance is left out.
"""

import re
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, meta, nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from mayfly.models.errors import BadRequest
from mayfly.models.nearest import nearest

LONGEST = 10_000_000
"""Characters of one prompt, or of one text on the way to it."""

MOST_STEPS = 1_000_000
"""What all `range` of one row may add up to."""

TEMPLATE_ERRORS = (
    TemplateError,
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RecursionError,
    MemoryError,
)
"""What a template may raise on a row: an error of that row."""

_TOO_LONG = f"the prompt is longer than {LONGEST:,} characters"
_WIDTH = re.compile(r"[%{][^%{}]*\d{6}")
_FORMATTING = frozenset({"format", "format_map"})
_WIDENING = frozenset({"ljust", "rjust", "center", "zfill", "expandtabs"})


class Template:
    """A compiled prompt template.

    Attributes:
        needs: The columns that it uses, in the order of the input.

    Raises:
        BadRequest: It cannot be compiled, or uses what is no column; names the columns.
    """

    def __init__(self, text: str, columns: Sequence[str]) -> None:
        environment = _Bounded(
            undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True
        )
        try:
            parsed = environment.parse(text)
            used = meta.find_undeclared_variables(parsed)
            self._template = environment.from_string(text)
        except TemplateSyntaxError as error:
            raise BadRequest(
                f"prompt template, line {error.lineno}: {(error.message or '').rstrip('.')}; "
                f"the columns are {', '.join(columns)}"
            ) from error
        except TEMPLATE_ERRORS as error:
            # What is constant in it is worked out here already.
            raise BadRequest(f"prompt template: {type(error).__name__}: {error}") from error
        if unknown := sorted(used - set(columns) - set(environment.globals)):
            raise BadRequest(
                f"prompt template uses {', '.join(unknown)}, which the input does not have"
                f"{nearest(unknown[0], columns)}; its columns are {', '.join(columns)}"
            )
        self.needs = tuple(name for name in columns if name in used)
        self._environment = environment
        # Looked up for every row; a chain of dictionaries takes ten times as long.
        self._template.globals = dict(self._template.globals)
        self._plain = _only_columns(parsed)

    def render(self, cells: dict[str, Any]) -> str:
        """Return a row's text (one of TEMPLATE_ERRORS when there is none)."""
        if self._plain is not None:
            prompt = self._plain(cells)
            if len(prompt) > LONGEST:
                raise SecurityError(_TOO_LONG)
            return prompt
        self._environment.steps = 0
        parts, length = [], 0
        for part in self._template.generate(cells):
            length += len(part)
            if length > LONGEST:
                raise SecurityError(_TOO_LONG)
            parts.append(part)
        return "".join(parts)


def _only_columns(parsed: nodes.Template) -> Callable[[dict[str, Any]], str] | None:
    """Return what renders a template of text and bare columns, or None: it is no such template.

    Most templates are; filling in a pattern takes a tenth of what Jinja2 takes for a row.
    """
    pattern, names = "", []
    for statement in parsed.body:
        if not isinstance(statement, nodes.Output):
            return None
        for piece in statement.nodes:
            if isinstance(piece, nodes.TemplateData):
                pattern += piece.data.replace("%", "%%")
            elif isinstance(piece, nodes.Name):
                pattern += "%s"
                names.append(piece.name)
            else:
                return None
    if len(names) == 1:
        (name,) = names
        return lambda cells: pattern % (cells[name],)
    if not names:
        return None
    pick = itemgetter(*names)
    return lambda cells: pattern % pick(cells)


class _Bounded(ImmutableSandboxedEnvironment):
    """A sandbox in which no single operation makes a huge value or an endless loop."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.steps = 0
        del self.globals["lipsum"]
        del self.filters["random"]
        self.globals["range"] = self._range
        for name in ("center", "indent"):
            self.filters[name] = _narrow(self.filters[name])
        self.filters["format"] = _short_format

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
        self.steps += len(steps)
        if self.steps > MOST_STEPS:
            raise SecurityError(f"loops of more than {MOST_STEPS:,} steps")
        return steps


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
