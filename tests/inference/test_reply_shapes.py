"""Replies in another shape than the API's: their answer is kept, and their errors are read."""

import gzip
from typing import Any

import orjson
import pytest

from mayfly.inference.responses import ServerError, read_completion, read_error
from mayfly.models import failures as f
from mayfly.models.rows import Answer

USAGE = {"prompt_tokens": 7, "completion_tokens": 3}


def read(body: bytes) -> Answer:
    found = read_completion(5, body, 2, 0.5)
    assert isinstance(found, Answer)
    return found


def kind(answer: Answer) -> str | None:
    return None if answer.failure is None else answer.failure.kind


def event(**piece: Any) -> bytes:
    return b"data: " + orjson.dumps(piece) + b"\n\n"


CHOICE = {"index": 0, "message": {"role": "assistant", "content": "hello"}}
WHOLE = orjson.dumps({"choices": [CHOICE], "usage": USAGE})


@pytest.mark.parametrize(
    "body",
    [
        event(choices=[{"index": 0, "delta": {"role": "assistant", "content": "hel"}}])
        + event(choices=[{"index": 0, "delta": {"content": "lo"}, "finish_reason": "stop"}])
        + event(choices=[], usage=USAGE)
        + b"data: [DONE]\n\n",
        b'{"choices": [{"index": 0, "delta": {"content": "hel"}}]}\n'
        b'{"choices": [{"index": 0, "delta": {"content": "lo"}}], "usage": null}\n'
        + orjson.dumps({"choices": [], "usage": USAGE}),
        b"event: message\n" + b"data: " + WHOLE + b"\n\n",
        b": keep-alive\n\n: keep-alive\n\n" + WHOLE,
        orjson.dumps({"choices": CHOICE, "usage": USAGE}),
        orjson.dumps({"choices": "hello", "usage": USAGE}),
        orjson.dumps({"choices": [{"delta": {"content": "hello"}}], "usage": USAGE}),
        orjson.dumps({"choices": [{"message": {}, "text": "hello"}], "usage": USAGE}),
        orjson.dumps({"choices": [{"message": [CHOICE["message"]]}], "usage": USAGE}),
        b"[" + WHOLE + b"]",
        orjson.dumps(WHOLE.decode()),
        gzip.compress(gzip.compress(WHOLE)),
        gzip.compress(WHOLE[:20]) + gzip.compress(WHOLE[20:]),
        b'{"response": ' + WHOLE + b"}",
        WHOLE.decode().encode("utf-16-le"),
        WHOLE.decode().encode("utf-32"),
    ],
    ids=[
        "streamed", "lines", "one event", "comments", "one choice", "text as choices", "delta",
        "text beside an empty message", "conversation", "in a list", "in a string",
        "compressed twice", "compressed in pieces", "in an object", "utf-16", "utf-32",
    ],
)  # fmt: skip
def test_answer_is_kept_whatever_it_is_wrapped_in(body: bytes) -> None:
    answer = read(body)

    assert (answer.response, answer.failure) == ("hello", None)
    assert answer.completion_tokens == USAGE["completion_tokens"]


def test_streamed_tool_calls_are_put_together() -> None:
    def call(**function: str) -> list[dict[str, Any]]:
        return [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": function}]}}]

    answer = read(
        event(choices=call(name="weather", arguments='{"city": '))
        + event(choices=call(arguments='"Turku"}'))
    )

    assert answer.failure is None
    assert orjson.loads(answer.tool_calls or "") == [
        {"index": 0, "function": {"name": "weather", "arguments": '{"city": "Turku"}'}}
    ]


def test_tool_calls_beside_the_message_are_kept() -> None:
    choice = {"message": {"content": None}, "tool_calls": [{"function": {"name": "weather"}}]}
    answer = read(orjson.dumps({"choices": [choice], "usage": USAGE}))

    assert (answer.failure, answer.dropped) == (None, None)
    assert orjson.loads(answer.tool_calls or "") == choice["tool_calls"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"choices": [{"message": {"content": "hello"},}]}',
        b"{'choices': []}",
        b'{"choices": [{"message": {"content": ' + b"[" * 5000 + b"]" * 5000 + b"}}]}",
    ],
    ids=["comma", "quotes", "depth"],
)
def test_whole_object_that_no_parser_takes_is_an_error_and_not_sent_again(body: bytes) -> None:
    answer = read(body)

    assert kind(answer) == f.NO_TEXT
    assert "not valid JSON: {" in (answer.error or "")


def test_page_instead_of_a_reply_is_quoted() -> None:
    assert "504 Gateway" in (read(b"<title>504 Gateway Time-out</title>").error or "")


@pytest.mark.parametrize("body", [b"", b"<html>busy</html>", b"null", b"[]", b'"a"'])
def test_body_that_is_no_object_is_unreadable(body: bytes) -> None:
    assert kind(read(body)) == f.UNREADABLE


@pytest.mark.parametrize(
    "body", [{"content": [{"text": "paid"}]}, [{"generated_text": "paid"}], {"done": "paid"}]
)
def test_reply_of_another_api_is_quoted_and_not_sent_again(body: Any) -> None:
    answer = read(orjson.dumps(body))

    assert kind(answer) == f.NO_TEXT
    assert "paid" in (answer.error or "")


@pytest.mark.parametrize("body", [{}, {"choices": []}, {"choices": None, "usage": USAGE}])
def test_response_without_choices_is_an_error_of_its_row(body: Any) -> None:
    assert kind(read(orjson.dumps(body))) == f.NO_TEXT


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (
            {"error": {"message": "slow down", "code": "rate_limit_exceeded"}},
            ServerError(429, "rate_limit_exceeded", "slow down"),
        ),
        ({"error": {"message": "full", "code": 503}}, ServerError(503, "", "full")),
        (
            {"error": {"message": "no", "type": "invalid_request_error", "code": None}},
            ServerError(400, "", "no"),
        ),
        (
            {"object": "error", "message": "no", "type": "BadRequestError", "code": 400},
            ServerError(400, "", "no"),
        ),
        ({"error": "broken"}, ServerError(500, "", "broken")),
        ({"error": True, "message": "broken"}, ServerError(500, "", "broken")),
        ({"error": ["broken"]}, ServerError(500, "", "broken")),
        ({"error": 503}, ServerError(503, "", '{"error": 503}')),
        (
            {"error": {"error": {"message": "slow", "code": "rate_limit_exceeded"}}},
            ServerError(429, "rate_limit_exceeded", "slow"),
        ),
        ([{"error": {"message": "slow", "code": 429}}], ServerError(429, "", "slow")),
        ({"message": "broken"}, ServerError(500, "", "broken")),
        ({"status": "error", "message": "broken"}, ServerError(500, "", "broken")),
        (
            {"success": False, "errors": [{"code": "unavailable", "message": "full"}]},
            ServerError(503, "unavailable", "full"),
        ),
        ({"errors": ["a", "b"]}, ServerError(500, "", "a; b")),
        ({"error_message": "broken", "error_code": 502}, ServerError(502, "", "broken")),
        (
            {"fault": {"faultstring": "quota", "detail": {"errorcode": "x"}}},
            ServerError(500, "", "quota"),
        ),
        ({"code": 404, "message": "no model"}, ServerError(404, "", "no model")),
        ({"detail": "Not Found", "status": 404}, ServerError(404, "", "Not Found")),
        (
            {"choices": [{"error": {"message": "lost", "code": 502}, "message": {}}]},
            ServerError(502, "", "lost"),
        ),
    ],
)
def test_status_200_with_an_error_is_that_error(body: Any, error: ServerError) -> None:
    assert read_completion(5, orjson.dumps(body), 1, 0.5) == error


@pytest.mark.parametrize(
    ("status", "body", "code", "words"),
    [
        (400, {"object": "error", "message": "no", "code": 400}, "", "no"),
        (400, {"error": {"code": "bad", "message": "bad: no"}}, "bad", "no"),
        (400, {"error": {"code": "400", "message": "Error code: 400 - no"}}, "", "no"),
        (422, {"error": "`inputs` no", "error_type": "validation"}, "validation", "`inputs` no"),
        (422, {"detail": [{"loc": ["body", "n"], "msg": "too big"}]}, "", "body.n: too big"),
        (400, {"error": {"code": "bad", "message": "bad"}}, "bad", "bad"),
        (302, b"", "", "the response has no body"),
        (502, b"<html>bad gateway</html>", "", "<html>bad gateway</html>"),
    ],
)
def test_error_message_does_not_repeat_its_code(
    status: int, body: Any, code: str, words: str
) -> None:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)

    assert read_error(status, raw) == ServerError(status, code, words)
