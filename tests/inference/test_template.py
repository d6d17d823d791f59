"""Prompt templates: allowed constructs and the cost of one row."""

import signal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Environment

from mayfly.inference.cell_text import RowError, view
from mayfly.inference.render_process import MAX_CRASHED_ROWS, Limits, RenderProcess
from mayfly.inference.template import TEMPLATE_ERRORS, Template
from mayfly.models.errors import BadRequest, TerminalError


@pytest.mark.parametrize(
    "text",
    [
        "{{ q * 10**9 }}",
        "{{ 10**9 * q }}",
        "{{ [q] * 10**9 }}",
        "{{ q.ljust(10**9) }}",
        "{{ q.center(width) }}",
        "{{ q|center(10**9) }}",
        "{{ q|indent(10**9) }}",
        "{{ '%999999999d' % 1 }}",
        "{{ '%999999999d'|format(1) }}",
        "{{ '{:999999999}'.format(q) }}",
        "{{ 9 ** (10**9) }}",
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% for a in range(99999) %}{{ q * 1000 }}{% endfor %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ q.__class__.__mro__ }}",
        "{{ q.nothing }}",
        "{{ 1 / 0 }}",
    ],
)
def test_template_too_costly_or_failing_is_an_error_of_its_row(text: str) -> None:
    with pytest.raises((*TEMPLATE_ERRORS, BadRequest)):
        Template(text, ["q", "width"]).render({"q": "x", "width": 10**9})


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("{{ q * 3 }}, {{ q.ljust(4) }}|", "abcabcabc, abc |"),
        ("{{ '%05d' % 7 }} {{ '{:>5}'.format(q) }} {{ 2 ** 10 }}", "00007   abc 1024"),
        ("{{ '%s'|format(12345678) }}{{ q.replace('a', '1234567') }}", "123456781234567bc"),
        ("{% for i in range(3) %}{{ i }}{{ q|upper }} {% endfor %}", "0ABC 1ABC 2ABC "),
    ],
)
def test_ordinary_templates_render_as_expected(text: str, rendered: str) -> None:
    assert Template(text, ["q"]).render({"q": "abc"}) == rendered


@given(
    texts=st.lists(st.text(alphabet="a%{ }\\n\\r-s(d)'é", max_size=6), min_size=1, max_size=4),
    q=st.text(max_size=5) | st.integers() | st.floats() | st.booleans(),
    other=st.text(max_size=2) | st.none(),
)
def test_plain_substitution_equals_jinja2(texts: list[str], q: object, other: object) -> None:
    text = "{{ q }}{{other}}".join(text.replace("{", "(") for text in texts)
    said = Environment(keep_trailing_newline=True).from_string(text)  # noqa: S701 - no HTML
    cells = {"q": q, "other": other}
    template = Template(text, ["q", "other"])

    assert template.render(cells) == said.render(cells)
    if template.pattern is not None:
        values = tuple(cells[name] for name in template.pattern.columns)
        assert template.pattern.text % values == said.render(cells)


@pytest.mark.parametrize("text", ["{{ lipsum() }}", "{{ [q]|random }}"])
def test_random_template_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        Template(text, ["q"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ question }} {{ answer }}", "uses answer, question, which the input does not have"),
        ("{{ q", "--prompt, line 1: .*; the columns are q, other"),
        ("{% for %}", "line 1"),
    ],
)
def test_invalid_template_is_refused_with_the_columns(text: str, expected: str) -> None:
    with pytest.raises(BadRequest, match=expected):
        Template(text, ["q", "other"])


def shown(text: str, **cells: Any) -> str:
    [found] = Template(text, list(cells)).render_all([{n: view(c) for n, c in cells.items()}])
    assert isinstance(found, str), found
    return found


NESTED = {"a": [1, None, "é<b>"], "b": {"c": True}}
NESTED_JSON = '{"a": [1, null, "é<b>"], "b": {"c": true}}'


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("{{ q }}", NESTED_JSON),
        ("{{ q ~ '' }}", NESTED_JSON),
        ("{{ q|string }}", NESTED_JSON),
        ("{{ q|tojson }}", NESTED_JSON),
        ("{{ '%s' % q['a'] }}", '[1, null, "é<b>"]'),
        ("{{ '{}'.format(q) }}", NESTED_JSON),
        ("{{ [q.a, q.b]|join(' and ') }}", '[1, null, "é<b>"] and {"c": true}'),
        ("{{ [1, none] }}{{ {'k': q.b} }}", '[1, null]{"k": {"c": true}}'),
        ("{{ q.a[0] }}{{ q['b'].c }}", "1True"),
        ("{{ q.b|tojson(indent=2) }}", '{\n  "c": true\n}'),
    ],
)
def test_nested_value_is_rendered_as_json(text: str, rendered: str) -> None:
    assert shown(text, q=NESTED) == rendered


@pytest.mark.parametrize(
    ("text", "needs", "rendered"),
    [
        ("{{ row['Question Text'] }}", ("Question Text",), "why?"),
        ("Q: {{ row['Question Text'] }} {{ row.items }}", ("Question Text", "items"), "Q: why? 7"),
        ("{{ row['user-id'] + 1 }}", ("user-id",), "2"),
        ("{% for n in row %}{{ n }};{% endfor %}", "all", "Question Text;user-id;items;q;"),
        ("{{ row['user-' ~ 'id'] }}", "all", "1"),
        ("{{ row.keys()|length }}", "all", "4"),
        ("{% for row in [1] %}{{ row }}{% endfor %}{{ items }}", ("items",), "17"),
    ],
)
def test_row_variable_gives_any_column_by_name(text: str, needs: Any, rendered: str) -> None:
    cells = {"Question Text": "why?", "user-id": 1, "items": 7, "q": "id"}
    template = Template(text, list(cells))

    assert template.needs == (tuple(cells) if needs == "all" else needs)
    assert template.render_all([{name: cells[name] for name in template.needs}]) == [rendered]


def test_column_named_row_is_that_column() -> None:
    assert shown("{{ row }}", row="x") == "x"


@pytest.mark.parametrize("text", ["{{ row['nothing'] }}", "{{ row.nothing }}"])
def test_unknown_column_of_row_variable_is_refused_with_the_columns(text: str) -> None:
    with pytest.raises(BadRequest, match="uses nothing, which the input does not have"):
        Template(text, ["q"])


ENDLESS = [
    "{% set s = q * 9000000 %}{% for a in s %}{% for b in s %}{% endfor %}{% endfor %}",
    "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(99) }}",
    "{% set n = namespace(x=[q]) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}{% endfor %}"
    "{{ n.x == n.x|list }}{{ n.x }}",
]
HUGE = [
    "{{ (q * 100000)|replace(q, q * 1000000)|length }}",
    "{% set n = namespace(x=q) %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}"
    "{{ n.x|length }}",
    "{{ [q]|slice(10**9)|list|length }}",
    "{{ (q * 1000000).join(range(900000)|map('string'))|length }}",
]


@pytest.mark.parametrize("text", [*ENDLESS, *HUGE])
def test_endless_row_is_an_error_and_the_next_is_rendered(text: str) -> None:
    process = RenderProcess(
        "{% if q == 'x' %}" + text + "{% else %}good{% endif %}",
        ["q"],
        Limits(cpu_s=0.5, memory_bytes=2**30),
    )

    bad, good = process.render_all([{"q": "x"}, {"q": "y"}])

    assert isinstance(bad, RowError)
    assert good == "good"


def test_template_that_kills_its_process_repeatedly_ends_the_run() -> None:
    process = RenderProcess(ENDLESS[1], ["q"], Limits(cpu_s=0.05, memory_bytes=2**30))

    with pytest.raises(TerminalError, match="simplify it"):
        process.render_all([{"q": "x"}] * MAX_CRASHED_ROWS)


def test_killed_render_process_costs_no_row() -> None:
    process = RenderProcess("{% for c in q %}{{ c }};{% endfor %}", ["q"])
    assert process.render_all([{"q": "ab"}]) == ["a;b;"]
    assert process._process is not None
    process._process.send_signal(signal.SIGKILL)

    assert process.render_all([{"q": "cd"}, {"q": "ef"}]) == ["c;d;", "e;f;"]


@pytest.mark.parametrize(
    ("text", "is_here"),
    [
        ("{{ q|upper }} {{ q.strip()|trim }}", True),
        ("{% if q == 'a' %}{{ q|default('b') }}{% else %}{{ q[0:5] }}{% endif %}", True),
        ("{{ q|tojson }}{{ 'yes' if q else 'no' }}", True),
        ("{% for c in q %}{{ c }}{% endfor %}", False),
        ("{{ q|replace('a', 'bb') }}", False),
        ("{{ q * 3 }}", False),
        ("{% set x = q %}{{ x }}", False),
    ],
)
def test_template_is_rendered_in_process_only_if_linear_in_the_row(
    text: str, is_here: bool
) -> None:
    template = Template(text, ["q"])

    assert (template._process is None) == is_here
    assert template.render_all([{"q": "abc"}]) == [template.render({"q": "abc"})]


def test_endless_constant_is_not_evaluated_while_compiling() -> None:
    text = "{{ 'aaaa'" + "|replace('a', 'aaaaaaaa')" * 20 + "|length }}"

    process = Template(text, ["q"])._process

    assert process is not None


def test_name_set_in_a_branch_is_no_column() -> None:
    assert shown("{% if q %}{% set s = q * 2 %}{{ s }}{% endif %}", q="a") == "aa"
