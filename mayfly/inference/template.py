"""Prompt templates: Jinja2 in a sandbox, with a bounded cost per row.

A template is compiled once and rendered for every row. Rendering is deterministic: random filters
are removed. A template with a cost linear in the row's size is rendered in this process; any other
in a separate process, which is ended if a row takes too long or too much memory.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, nodes
from jinja2.exceptions import SecurityError
from jinja2.meta import TrackingCodeGenerator

from mayfly.inference.cell_text import Row, RowError
from mayfly.inference.render_process import RenderProcess
from mayfly.inference.template_cost import is_linear
from mayfly.inference.template_sandbox import LONGEST, Sandbox
from mayfly.models.errors import BadRequest
from mayfly.models.failures import TEMPLATE
from mayfly.models.nearest import nearest

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
"""Exceptions of a template that are an error of the row."""

ROW = "row"
"""Template variable with all columns by name, unless a column has this name."""


class Pattern(NamedTuple):
    """A template of only text and bare columns, for the `%` operator.

    Attributes:
        columns: One for each `%s` in the text.
    """

    text: str
    columns: tuple[str, ...]


class Template:
    """A compiled prompt template.

    Attributes:
        needs: The columns that it uses, in the order of the input.
        pattern: The pattern, if it is only text and bare columns.

    Raises:
        BadRequest: It cannot be compiled, or uses an unknown name; the message lists the columns.
    """

    def __init__(self, text: str, columns: Sequence[str]) -> None:
        self._text, self._columns = text, tuple(columns)
        environment = Sandbox(
            undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True
        )
        try:
            parsed = environment.parse(text)
            used = _undeclared(parsed)
            self._template = environment.from_string(parsed)
        except TemplateSyntaxError as error:
            raise BadRequest(
                f"--prompt, line {error.lineno}: {(error.message or '').rstrip('.')}; "
                f"the columns are {', '.join(columns)}"
            ) from error
        except TEMPLATE_ERRORS as error:
            raise BadRequest(f"--prompt: {type(error).__name__}: {error}") from error
        self._has_row = ROW in used and ROW not in columns
        if self._has_row:
            used = (used - {ROW}) | _of_row(parsed, columns)
        # A name set in one branch counts as undeclared after it; reading it is an error of the row.
        known = {*columns, *environment.globals, *_assigned(parsed)}
        if unknown := sorted(used - known):
            hint = nearest(unknown[0], columns) if len(unknown) == 1 else ""
            raise BadRequest(
                f"--prompt uses {', '.join(unknown)}, which the input does not have{hint}; "
                f"its columns are {', '.join(columns)}"
            )
        self.needs = tuple(name for name in columns if name in used)
        self.pattern = _pattern(parsed, self.needs)
        self._environment = environment
        # Looked up for every row; a ChainMap takes ten times as long.
        self._template.globals = dict(self._template.globals)
        self._process: RenderProcess | None = None
        if not is_linear(parsed):
            self._process = RenderProcess(text, self._columns)

    def render_all(self, rows: Sequence[dict[str, Any]]) -> list[str | RowError]:
        """Return the text of each row, or its error."""
        if self._process is not None:
            return self._process.render_all(rows)
        return [self.render_safely(row) for row in rows]

    def render_safely(self, cells: dict[str, Any]) -> str | RowError:
        """Return a row's text, or its error; in this process."""
        try:
            return self.render(cells)
        except TEMPLATE_ERRORS as error:
            return RowError(TEMPLATE, f"{type(error).__name__}: {error}")

    def render(self, cells: dict[str, Any]) -> str:
        """Return a row's text (or raise one of TEMPLATE_ERRORS); in this process."""
        self._environment.begin_row()
        if self._has_row:
            cells = {**cells, ROW: Row(cells)}
        parts, length = [], 0
        for part in self._template.generate(cells):
            length += len(part)
            if length > LONGEST:
                raise SecurityError(f"the prompt is longer than {LONGEST:,} characters")
            parts.append(part)
        return "".join(parts)


def _undeclared(parsed: nodes.Template) -> set[str]:
    """Return the names that a template reads and does not set.

    Like `jinja2.meta.find_undeclared_variables`, but without constant folding.
    """
    assert parsed.environment is not None  # noqa: S101
    generator = TrackingCodeGenerator(parsed.environment)
    generator.optimizer = None
    generator.visit(parsed)
    return set(generator.undeclared_identifiers)


def _assigned(parsed: nodes.Template) -> set[str]:
    names = {name.name for name in parsed.find_all(nodes.Name) if name.ctx != "load"}
    return names | {macro.name for macro in parsed.find_all(nodes.Macro)}


def _of_row(parsed: nodes.Template, columns: Sequence[str]) -> set[str]:
    """Return the columns that are read through `row`: the named ones, or all."""
    named: set[str] = set()
    through = 0
    for node in parsed.find_all((nodes.Getitem, nodes.Getattr)):
        if _column_of_row(node) is not None and isinstance(node, nodes.Getitem | nodes.Getattr):
            name = str(_column_of_row(node))
            if isinstance(node, nodes.Getattr) and name not in columns and hasattr(dict, name):
                return set(columns)  # row.items()
            named.add(name)
            through += 1
    mentioned = sum(node.name == ROW for node in parsed.find_all(nodes.Name))
    return named if through == mentioned else named | set(columns)


def _column_of_row(node: nodes.Node) -> str | None:
    """Return the name in `row['name']` or `row.name`; None for anything else."""
    if isinstance(node, nodes.Getitem | nodes.Getattr):
        of = node.node
        if isinstance(of, nodes.Name) and of.name == ROW:
            if isinstance(node, nodes.Getattr):
                return node.attr
            if isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
                return node.arg.value
    return None


def _pattern(parsed: nodes.Template, needs: Sequence[str]) -> Pattern | None:
    """Return the pattern of a template of text and bare columns, or None.

    Most templates are patterns, which take a tenth of Jinja2's time per row.
    """
    text, names = "", []
    for statement in parsed.body:
        if not isinstance(statement, nodes.Output):
            return None
        for piece in statement.nodes:
            if isinstance(piece, nodes.TemplateData):
                text += piece.data.replace("%", "%%")
                continue
            name = piece.name if isinstance(piece, nodes.Name) else _column_of_row(piece)
            if name is None or name not in needs:
                return None
            text += "%s"
            names.append(name)
    return Pattern(text, tuple(names)) if names else None
