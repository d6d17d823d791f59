"""Rows become requests; a row that cannot be sent is an error of its own."""

import datetime as dt
from decimal import Decimal
from typing import Any

import orjson
import pytest

from mayfly.inference.request_builder import Renderer
from mayfly.models import failures as f
from mayfly.models.errors import BadRequest
from mayfly.models.failures import Failure
from mayfly.models.job import PromptSpec, Sampling
from mayfly.models.rows import RowRequest


class Unreadable:
    """A cell that Arrow holds and Python does not."""

    def __str__(self) -> str:
        raise ValueError("timestamp out of range")


def requests(
    columns: dict[str, list[Any]], prompt: PromptSpec | None = None, **sampling: Any
) -> list[RowRequest]:
    renderer = Renderer(prompt or PromptSpec(), Sampling(**sampling), list(columns))
    needed = {name: columns[name] for name in renderer.needs}
    return list(renderer.bodies("m", 10, needed, len(next(iter(columns.values())))))


def body(columns: dict[str, Any], prompt: PromptSpec | None = None, **sampling: Any) -> Any:
    [request] = requests({name: [cell] for name, cell in columns.items()}, prompt, **sampling)
    assert request.failure is None, request.failure
    return orjson.loads(request.body)


def failure(columns: dict[str, Any], prompt: PromptSpec | None = None, **sampling: Any) -> Failure:
    [request] = requests({name: [cell] for name, cell in columns.items()}, prompt, **sampling)
    assert request.failure is not None
    return request.failure


USER = {"role": "user", "content": "What is 2+2?"}


def test_prompt_column_of_messages_is_messages_and_of_text_is_text() -> None:
    system = {"role": "system", "content": "Be brief."}

    assert body({"prompt": [system, USER]})["messages"] == [system, USER]
    assert body({"prompt": "hi"})["messages"] == [{"role": "user", "content": "hi"}]


def test_nulls_that_arrow_added_are_not_sent_at_any_depth() -> None:
    parts = [
        {"type": "text", "text": "Look", "image_url": None},
        {"type": "image_url", "text": None, "image_url": {"url": "u", "detail": None}},
    ]

    [message] = body({"messages": [{"role": "user", "content": parts, "name": None}]})["messages"]

    assert message == {
        "role": "user",
        "content": [
            {"type": "text", "text": "Look"},
            {"type": "image_url", "image_url": {"url": "u"}},
        ],
    }


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("é".encode(), "é"),
        (7, "7"),
        (1.5, "1.5"),
        (Decimal("1.10"), "1.10"),
        (dt.date(2024, 1, 2), "2024-01-02"),
    ],
)
def test_scalar_cell_is_sent_as_its_text(cell: Any, text: str) -> None:
    for prompt in (PromptSpec(), PromptSpec(template="{{ prompt }}"), PromptSpec(completions=True)):
        sent = body({"prompt": cell}, prompt)
        assert sent.get("prompt") == text or sent["messages"][0]["content"] == text
    assert body({"prompt": cell}, PromptSpec(embed_column="prompt"))["input"] == [text]


@pytest.mark.parametrize("cell", [[1, 2], {"a": 1}, [{"a": 1}], [b"x"]])
def test_nested_cell_is_no_prompt_and_is_json_in_a_template(cell: Any) -> None:
    for prompt in (None, PromptSpec(completions=True), PromptSpec(embed_column="prompt")):
        found = failure({"prompt": cell}, prompt)
        assert found.kind == f.BAD_CELL
        assert "--prompt '{{ prompt }}' sends it as JSON" in found.message

    sent = body({"prompt": cell}, PromptSpec(template="{{ prompt }}"))["messages"][0]["content"]

    assert orjson.loads(sent) == (["x"] if cell == [b"x"] else cell)


@pytest.mark.parametrize("cell", [b"caf\xe9", Unreadable(), {"a": b"\xff"}])
@pytest.mark.parametrize(
    "prompt",
    [
        None,
        PromptSpec(template="{{ prompt }}"),
        PromptSpec(template="Q: {{ prompt }} {{ other }}"),
        PromptSpec(template="{% for c in other %}{{ prompt }}{% endfor %}"),
        PromptSpec(embed_column="prompt"),
        PromptSpec(completions=True),
    ],
)
def test_unusable_cell_is_an_error_of_its_row_only(cell: Any, prompt: PromptSpec | None) -> None:
    found = requests({"prompt": ["a", cell, "b"], "other": ["x", "x", "x"]}, prompt)

    assert [request.row for request in found] == [10, 11, 12]
    assert [request.failure is None for request in found] == [True, False, True]
    assert found[1].failure is not None
    assert found[1].failure.kind == f.BAD_CELL


def test_message_with_bytes_that_are_no_text_is_an_error_of_its_row() -> None:
    assert failure({"messages": [{"role": "user", "content": b"\xff"}]}).kind == f.BAD_CELL
    assert failure({"messages": Unreadable()}) == Failure(f.BAD_CELL, "timestamp out of range")
    assert body({"messages": [{"role": "user", "content": b"ok"}]})["messages"][0] == {
        "role": "user",
        "content": "ok",
    }


def test_objects_of_nulls_and_null_entries_are_not_sent() -> None:
    image = {"type": "image_url", "text": None, "image_url": {"url": "https://a.example/a.png"}}
    text = {"type": "text", "text": "hi", "image_url": {"url": None, "detail": None}}

    [message] = body(
        {"messages": [{"role": "user", "content": [text, None, image], "tool_calls": []}]}
    )["messages"]

    assert message == {
        "role": "user",
        "content": [
            {"type": "text", "text": "hi"},
            {"type": "image_url", "image_url": {"url": "https://a.example/a.png"}},
        ],
    }


@pytest.mark.parametrize(
    "prompt", [None, PromptSpec(template="{{ prompt }}"), PromptSpec(template="a {{ prompt }}")]
)
def test_null_prompt_is_an_error_of_its_row(prompt: PromptSpec | None) -> None:
    assert failure({"prompt": None}, prompt).kind == f.NULL_PROMPT


TOOL = {"type": "function", "function": {"name": "w", "parameters": {"enum": ["a", None]}}}


@pytest.mark.parametrize(
    ("sampling", "fields"),
    [
        ({"reasoning": "on"}, {"reasoning": {"enabled": True}}),
        ({"reasoning": "off"}, {"reasoning": {"enabled": False}}),
        ({"reasoning": "high"}, {"reasoning_effort": "high"}),
        ({"samples": 3}, {"n": 3}),
        ({"logprobs": 0}, {"logprobs": 0}),
        ({"seed": 7, "stop": ("a", "b")}, {"seed": 7, "stop": ["a", "b"]}),
        (
            {"temperature": 0.5, "body": {"temperature": 1, "top_k": 5}},
            {"temperature": 1, "top_k": 5},
        ),
        ({"max_tokens": 5, "body": {"max_tokens": None}}, {}),
    ],
)
def test_options_become_fields_of_the_request(
    sampling: dict[str, Any], fields: dict[str, Any]
) -> None:
    sent = body({"prompt": "hi"}, **sampling)

    assert {name: sent[name] for name in sent.keys() - {"model", "messages"}} == fields


def test_tools_are_sent_unchanged() -> None:
    prompt = PromptSpec(tools=orjson.dumps([TOOL]).decode())

    assert body({"prompt": "hi"}, prompt, body={"tool_choice": "auto"})["tools"] == [TOOL]


@pytest.mark.parametrize(
    ("cell", "top_k"),
    [
        ({"top_k": 9, "stop": None}, 9),
        ('{"top_k": 9}', 9),
        (b'{"top_k":9}', 9),
        (None, 5),
        ("{}", 5),
        ({"top_k": None}, 5),
    ],
)
def test_row_fields_override_request_fields(cell: Any, top_k: int) -> None:
    system = PromptSpec(system="be brief")
    columns = {"prompt": "hi", "extra": cell}

    sent = body(columns, system, body={"top_k": 5}, body_column="extra", seed=1)

    assert (sent["top_k"], sent["seed"], "stop" in sent) == (top_k, 1, False)
    assert [message["role"] for message in sent["messages"]] == ["system", "user"]


def test_row_fields_keep_the_frame_of_its_messages() -> None:
    sampling = Sampling(body_column="extra", max_tokens=5)
    renderer = Renderer(PromptSpec(), sampling, ["prompt", "extra"])
    [request] = renderer.bodies("m", 0, {"prompt": ["hi"], "extra": [{"n": 2}]}, 1)
    head, tail = renderer.frame("m")

    again = head + renderer.frame("m").content(request.body) + b',{"role":"user"}' + tail

    assert orjson.loads(again) == {
        "model": "m",
        "max_tokens": 5,
        "n": 2,
        "messages": [{"role": "user", "content": "hi"}, {"role": "user"}],
    }


@pytest.mark.parametrize(
    "cell", ["not JSON", "[1]", 7, {"model": "x"}, '{"messages": []}', {"stream": True}]
)
def test_row_fields_that_cannot_be_sent_are_an_error_of_the_row(cell: Any) -> None:
    columns = {"prompt": "hi", "extra": cell}

    assert failure(columns, body_column="extra").kind == f.BAD_BODY


def test_row_fields_are_refused_for_embedding_batches() -> None:
    with pytest.raises(BadRequest, match="--body-column"):
        requests({"t": ["a"], "b": [None]}, PromptSpec(embed_column="t"), body_column="b")


def test_embeddings_have_the_request_fields() -> None:
    sent = body({"t": "a"}, PromptSpec(embed_column="t"), body={"dimensions": 8})

    assert sent == {"model": "m", "input": ["a"], "dimensions": 8}
