"""Prompt templates: what they may use, and what one row may cost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Environment

from mayfly.inference.template import TEMPLATE_ERRORS, Template
from mayfly.models.errors import BadRequest


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
def test_what_would_cost_too_much_or_fails_is_an_error_of_its_row(text: str) -> None:
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
def test_ordinary_templates_say_what_they_say(text: str, rendered: str) -> None:
    assert Template(text, ["q"]).render({"q": "abc"}) == rendered


@given(
    texts=st.lists(st.text(alphabet="a%{ }\\n\\r-s(d)'é", max_size=6), min_size=1, max_size=4),
    q=st.one_of(
        st.text(max_size=5), st.none(), st.integers(), st.floats(), st.lists(st.booleans())
    ),
    other=st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)
def test_text_with_bare_columns_says_what_jinja2_says(
    texts: list[str], q: object, other: dict[str, int]
) -> None:
    text = "{{ q }}{{other}}".join(text.replace("{", "(") for text in texts)
    said = Environment(keep_trailing_newline=True).from_string(text)  # noqa: S701 - no HTML
    cells = {"q": q, "other": other}

    assert Template(text, ["q", "other"]).render(cells) == said.render(cells)


@pytest.mark.parametrize("text", ["{{ lipsum() }}", "{{ [q]|random }}"])
def test_what_draws_by_chance_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        Template(text, ["q"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{{ question }} {{ answer }}", "uses answer, question, which the input does not have"),
        ("{{ q", "prompt template, line 1: .*; the columns are q, other"),
        ("{% for %}", "line 1"),
    ],
)
def test_a_template_that_cannot_work_is_refused_with_the_columns(text: str, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        Template(text, ["q", "other"])
