"""Decide which templates have a cost that is linear in the row's size, for any content.

The decision is by syntax. Constructs that can repeat, multiply or store a value (loops, `set`,
macros, calls, arithmetic) are excluded, although most uses are harmless: such templates are
rendered where time and memory are bounded.
"""

from jinja2 import nodes

_FILTERS = frozenset(
    {
        "abs",
        "capitalize",
        "count",
        "d",
        "default",
        "first",
        "float",
        "int",
        "last",
        "length",
        "list",
        "lower",
        "reverse",
        "string",
        "title",
        "tojson",
        "trim",
        "truncate",
        "upper",
        "wordcount",
    }
)
"""Filters with a result at most a constant longer than their input."""

_METHODS = frozenset(
    {
        "capitalize",
        "endswith",
        "get",
        "isoformat",
        "items",
        "keys",
        "lower",
        "lstrip",
        "rstrip",
        "split",
        "splitlines",
        "startswith",
        "strip",
        "title",
        "upper",
        "values",
    }
)
_HARMLESS = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.Const,
    nodes.Getattr,
    nodes.Getitem,
    nodes.Slice,
    nodes.Neg,
    nodes.Compare,
    nodes.Operand,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.If,
    nodes.CondExpr,
    nodes.Concat,
    nodes.Keyword,
)


def is_linear(parsed: nodes.Template) -> bool:
    """Whether a template takes time and memory at most in proportion to its row."""
    return all(_is_harmless(node) for node in _all(parsed))


def _all(node: nodes.Node) -> list[nodes.Node]:
    return [node, *(inner for child in node.iter_child_nodes() for inner in _all(child))]


def _is_harmless(node: nodes.Node) -> bool:
    if isinstance(node, nodes.Name):
        return node.ctx == "load"
    if isinstance(node, nodes.Filter):
        return node.name in _FILTERS and _is_constant(node)
    if isinstance(node, nodes.Test):
        return _is_constant(node)
    if isinstance(node, nodes.Call):
        of = node.node
        return isinstance(of, nodes.Getattr) and of.attr in _METHODS and _is_constant(node)
    return isinstance(node, _HARMLESS)


def _is_constant(node: nodes.Filter | nodes.Test | nodes.Call) -> bool:
    """Whether all arguments of a filter, test or method besides its value are constants."""
    given = [*node.args, *(pair.value for pair in node.kwargs)]
    plain = node.dyn_args is None and node.dyn_kwargs is None
    return plain and all(isinstance(one, nodes.Const) and _is_short(one.value) for one in given)


def _is_short(value: object) -> bool:
    return not isinstance(value, int) or abs(value) <= 10_000
