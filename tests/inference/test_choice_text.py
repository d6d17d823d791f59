"""Thinking is read from every place where servers put it."""

from typing import Any

import orjson
import pytest

from mayfly.inference.responses import LOGPROBS, RESPONSES, read_completion, read_text
from mayfly.models import failures as f
from mayfly.models.rows import Answer

USAGE = {"prompt_tokens": 7, "completion_tokens": 3}
EVERYTHING = frozenset({RESPONSES, LOGPROBS})


def chat(message: Any) -> bytes:
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    return orjson.dumps({"choices": [choice], "usage": USAGE})


def read(body: bytes, *, keeps: frozenset[str] = frozenset()) -> Answer:
    found = read_completion(5, body, 2, 0.5, keeps=keeps)
    assert isinstance(found, Answer)
    return found


@pytest.mark.parametrize(
    "message",
    [
        {"content": "<think>hm</think>4"},
        {"content": "\n<think>\nhm\n</think>\n\n4"},
        {"content": "hm\n</think>\n\n4"},
        {"content": "hm\n</think>4"},
        {"content": "hm</think>\n\n4"},
        {"content": "<thinking>hm</thinking>4"},
        {"content": "[THINK]hm[/THINK]4"},
        {"content": "4", "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]},
        {"content": "4", "reasoning": "", "thinking_blocks": [{"thinking": "hm"}]},
        {"content": "4", "reasoning": {"content": "hm"}},
        {"content": [{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "4"}]},
        {"content": [{"type": "reasoning", "summary": [{"text": "hm"}]}, {"text": "4"}]},
        {"content": [{"type": "thinking", "thinking": [{"text": "hm"}]}, {"text": "4"}]},
    ],
)
def test_thinking_of_every_shape_is_reasoning(message: Any) -> None:
    for keeps in (frozenset[str](), EVERYTHING):
        answer = read(chat(message), keeps=keeps)

        assert (answer.response, answer.reasoning, answer.failure) == ("4", "hm", None)


def test_thinking_beside_the_message_is_kept() -> None:
    message = {"role": "assistant", "content": "4"}
    choice = {"message": message, "finish_reason": "stop", "reasoning_content": "hm"}

    answer = read(orjson.dumps({"choices": [choice], "usage": USAGE}))

    assert (answer.response, answer.reasoning, answer.dropped) == ("4", "hm", None)


@pytest.mark.parametrize(
    "text",
    [
        "a <think>b</think> c",
        "what does [/THINK] mean?",
        "<think> is a tag",
        "think>",
        "It is closed by </think> in the template.\n\nMore.",
    ],
)
def test_text_about_thinking_is_unchanged(text: str) -> None:
    assert read(chat({"content": text}))[1::8][:2] == (text, None)


def test_completion_keeps_what_looks_like_thinking() -> None:
    body = orjson.dumps({"choices": [{"text": "<think>a</think>b", "finish_reason": "stop"}]})
    answer = read_text(5, body, 1, 0.5)

    assert isinstance(answer, Answer)
    assert (answer.response, answer.reasoning) == ("<think>a</think>b", None)


def test_answer_of_closed_thinking_only_is_an_error_with_its_thinking() -> None:
    answer = read(chat({"content": "<think>hm</think>\n"}))

    assert (answer.response, answer.reasoning) == (None, "hm")
    assert answer.failure is not None
    assert answer.failure.kind == f.NO_TEXT
