"""Any body of a 200 becomes one typed answer, or the error that it contains."""

import gzip
import zlib
from collections.abc import Callable
from typing import Any

import orjson
import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st

from mayfly.inference.responses import (
    LOGPROBS,
    RESPONSES,
    Read,
    ServerError,
    read_completion,
    read_embeddings,
    read_error,
    read_text,
)
from mayfly.models import failures as f
from mayfly.models.rows import MAX_TOKENS, Answer
from mayfly.storage.answer_record import made_fit

USAGE = {"prompt_tokens": 7, "completion_tokens": 3}
CALL = {"id": "c1", "type": "function", "function": {"name": "w", "arguments": "{}"}}
EVERYTHING = frozenset({RESPONSES, LOGPROBS})


def chat(message: Any, finish: Any = "stop", **more: Any) -> bytes:
    choice = {"index": 0, "finish_reason": finish, "message": message}
    return orjson.dumps({"choices": [choice], "usage": USAGE, **more})


def read(body: bytes, *, keeps: frozenset[str] = frozenset()) -> Answer:
    found = read_completion(5, body, 2, 0.5, keeps=keeps)
    assert isinstance(found, Answer)
    return found


def kind(answer: Answer) -> str | None:
    return None if answer.failure is None else answer.failure.kind


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["stop", "length", "7", "\ud83d"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "choices",
                    "message",
                    "content",
                    "text",
                    "usage",
                    "prompt_tokens",
                    "finish_reason",
                    "error",
                    "code",
                    "data",
                    "embedding",
                    "index",
                    "reasoning",
                    "tool_calls",
                    "refusal",
                    "logprobs",
                    "tokens",
                    "top_logprobs",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def dumped(value: Any) -> bytes:
    import json  # noqa: PLC0415 - orjson writes no half of a surrogate pair, and no NaN

    return json.dumps(value).encode()


bodies = (
    st.binary(max_size=60)
    | json_values.map(dumped)
    | json_values.map(lambda value: chat(None).replace(b"null", dumped(value)))
    | json_values.map(lambda value: dumped({"choices": [value], "usage": value}))
    | json_values.map(lambda value: dumped({"choices": [{"message": value}]}))
)
READERS: list[Callable[..., Read]] = [read_completion, read_text, read_embeddings]


@given(bodies)
@example(b"[" * 100_000)
@example(b'{"choices":' * 5_000)
@example(gzip.compress(b"0" * 1_000_000)[:-9])
@example(b'{"choices":[{"message":{"content":"a","tool_calls":' + b"[" * 900 + b"]" * 900 + b"}}]}")
def test_any_body_is_an_answer_or_an_error(body: bytes) -> None:
    for reader in READERS:
        found = reader(5, body, 2, 0.5)
        if isinstance(found, ServerError):
            assert 400 <= found.status < 600
            continue
        assert (found.row, found.attempts) == (5, 2)
        assert kind(found) != f.INTERNAL, found
        # What a reader returns needs no healing on its way to a part.
        assert reader is read_embeddings or made_fit(found) == found


USUAL: dict[str, dict[str, Any]] = {
    "message": {"role": "assistant", "content": "yes", "tool_calls": []},
    "choice": {"index": 0, "finish_reason": "stop", "seed": 7, "logprobs": None},
    "usage": {**USAGE, "total_tokens": 10, "cached_tokens": 2},
    "reply": {"id": "a", "object": "chat.completion", "created": 1, "model": "m", "prompt": []},
}
odd_fields = st.tuples(
    st.sampled_from([*USUAL]),
    st.sampled_from(
        [*(name for fields in USUAL.values() for name in fields), "message", "usage", "audio"]
    ),
    json_values | st.sampled_from(["", " ", "\u3000", "<think>so", "length", 0, 2**31, -1]),
)


@given(st.lists(odd_fields, max_size=3))
@example([("usage", "cached_tokens", None)])
@example([("choice", "finish_reason", "length"), ("message", "content", "<think>so")])
def test_fast_and_full_readers_agree(changes: list[tuple[str, str, Any]]) -> None:
    parts = {name: dict(fields) for name, fields in USUAL.items()}
    for part, field, value in changes:
        parts[part][field] = value
    choice = {"message": parts["message"], **parts["choice"]}
    body = dumped({"choices": [choice], "usage": parts["usage"], **parts["reply"]})

    quickly = read_completion(5, body, 2, 0.5)
    # A job that keeps samples has each reply read in full.
    in_full = read_completion(5, body, 2, 0.5, keeps=frozenset({RESPONSES}))

    if isinstance(in_full, Answer):
        in_full = in_full._replace(responses=None)
    assert quickly == in_full


@given(bodies)
def test_any_error_body_has_a_message(body: bytes) -> None:
    error = read_error(418, body)

    assert error.status == 418
    assert len(error.message) <= 500


@pytest.mark.parametrize(
    ("given", "count"),
    [
        (7, 7),
        (9.0, 9),
        ("8", 8),
        (" 7.0 ", 7),
        (0, 0),
        (MAX_TOKENS, MAX_TOKENS),
        (1e20, None),
        (MAX_TOKENS + 1, None),
        (-1, None),
        (7.5, None),
        (True, None),
        ("seven", None),
        ("nan", None),
        ([7], None),
        (None, None),
    ],
)
def test_invalid_count_is_null_and_the_text_is_kept(given: Any, count: int | None) -> None:
    usage = {"prompt_tokens": given, "completion_tokens": given, "cached_tokens": given}

    answer = read(chat({"content": "use"}, usage=usage))

    assert answer.response == "use"
    assert answer[4:7] == (count, count, count)


@pytest.mark.parametrize("usage", [None, [], "x", 7, {"total_tokens": 3}])
def test_missing_usage_is_null(usage: Any) -> None:
    assert read(chat({"content": "a"}, usage=usage))[4:7] == (None, None, None)


def test_cached_tokens_are_read_from_both_fields() -> None:
    assert read(chat({"content": "a"}, usage={"cached_tokens": 3})).cached_tokens == 3
    details = {"prompt_tokens_details": {"cached_tokens": "4"}}
    assert read(chat({"content": "a"}, usage=details)).cached_tokens == 4


@pytest.mark.parametrize(
    ("finish", "kept"),
    [("stop", "stop"), (None, None), (2, "2"), (["a"], '["a"]'), ({"a": None}, '{"a":null}')],
)
def test_finish_reason_of_another_type_is_its_json(finish: Any, kept: str | None) -> None:
    assert read(chat({"content": "fin"}, finish)).finish_reason == kept


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "ab"),
        (["a", {"text": {"value": "b"}}, None], "ab"),
        ({"type": "text", "text": "a"}, "a"),
        (42, "42"),
        ({"x": 1}, '{"x":1}'),
    ],
)
def test_content_that_is_no_string_becomes_text(content: Any, text: str) -> None:
    assert read(chat({"content": content})).response == text


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_thinking_is_kept(name: str) -> None:
    answer = read(chat({"content": "4", name: "2 and 2 are 4"}))

    assert (answer.response, answer.reasoning, answer.failure) == ("4", "2 and 2 are 4", None)


def test_thinking_among_parts_of_content_is_kept_as_thinking() -> None:
    parts = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "4"}]

    assert read(chat({"content": parts}))[1::8][:2] == ("4", "hm")


@pytest.mark.parametrize(
    ("message", "reasoning"),
    [
        ({"content": "\n<think>let me see"}, "\n<think>let me see"),
        ({"content": "", "reasoning": "let me see"}, "let me see"),
        ({"content": None, "reasoning_content": "let me see"}, "let me see"),
        ({"content": "\n\n"}, None),
        ({"content": "<think>let me see"}, "<think>let me see"),
    ],
)
def test_answer_truncated_while_thinking_is_an_error_with_thinking(
    message: Any, reasoning: str | None
) -> None:
    answer = read(chat(message, "length"))

    assert answer.response is None
    assert kind(answer) == f.CUT_THINKING
    assert "cut while thinking after 3 tokens" in (answer.error or "")
    assert (answer.reasoning, answer.completion_tokens) == (reasoning, 3)


@pytest.mark.parametrize(
    ("message", "finish", "why", "expected"),
    [
        ({"content": None, "refusal": "I cannot."}, "stop", f.REFUSAL, "refused: I cannot."),
        ({"content": [{"type": "refusal", "refusal": "No."}]}, "stop", f.REFUSAL, "refused: No."),
        ({"content": ""}, "content_filter", f.FILTERED, "filtered"),
        ({"content": ""}, "SAFETY", f.FILTERED, "filtered"),
        ({"content": ""}, "refusal", f.REFUSAL, "refused"),
        ({"content": "", "reasoning": "hm"}, "max_tokens", f.CUT_THINKING, "cut while thinking"),
        ({"content": ""}, "stop", f.NO_TEXT, "empty"),
        ({"content": None, "reasoning": "hm"}, "stop", f.NO_TEXT, "only thinking"),
        ({}, "stop", f.NO_TEXT, "empty"),
        (None, "stop", f.NO_TEXT, "empty"),
    ],
)
def test_answer_without_text_is_an_error_with_its_reason(
    message: Any, finish: str, why: str, expected: str
) -> None:
    answer = read(chat(message, finish))

    assert (answer.response, kind(answer)) == (None, why)
    assert expected in (answer.error or "")
    assert answer.prompt_tokens == 7


@pytest.mark.parametrize(
    "message",
    [{"content": "", "tool_calls": [CALL]}, {"content": None, "function_call": CALL["function"]}],
)
def test_tool_calls_alone_are_no_error(message: Any) -> None:
    answer = read(chat(message, "tool_calls"))

    assert (answer.response, answer.failure) == (None, None)
    assert orjson.loads(answer.tool_calls or "")[0]["function"] == CALL["function"]


@pytest.mark.parametrize(
    "message",
    [
        {"content": [{"type": "tool_use", "id": "t", "name": "weather", "input": {}}]},
        {"content": "", "tool_calls": orjson.dumps([CALL]).decode()},
    ],
)
def test_tool_calls_in_another_place_are_a_list_of_calls(message: Any) -> None:
    answer = read(chat(message, "tool_calls"))

    assert answer.failure is None
    (call,) = orjson.loads(answer.tool_calls or "")
    assert isinstance(call, dict)
    assert "name" in call or call["function"]["name"] == "w"


def test_empty_completion_is_an_error_and_white_space_is_text() -> None:
    def completion(text: str) -> Read:
        body = orjson.dumps({"choices": [{"text": text, "finish_reason": "length"}]})
        return read_text(5, body, 1, 0.5)

    assert isinstance(empty := completion(""), Answer)
    assert isinstance(blank := completion("\n"), Answer)
    assert (kind(empty), blank.response) == (f.NO_TEXT, "\n")


HALF = chat({"content": "smile @@ cut"}).replace(b"@@", rb"\ud83d")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (HALF, "smile \ufffd cut"),
        (chat({"content": "@@"}).replace(b"@@", rb"\ud83d\ude00"), "\U0001f600"),
        (b"\xef\xbb\xbf" + chat({"content": "a"}), "a"),
        (chat({"content": "a@@b"}).replace(b"@@", b"\n\x01"), "a\n\x01b"),
        (chat({"content": "a@@b"}).replace(b"@@", b"\xe9"), "a\ufffdb"),
        (chat({"content": "a"}).replace(b":7", b":NaN"), "a"),
        (chat({"content": "a"}) + b"\ndata: [DONE]", "a"),
        (b"\r\n\r\n" + chat({"content": "a"}), "a"),
        (gzip.compress(chat({"content": "a"}), mtime=0), "a"),
        (zlib.compress(chat({"content": "a"})), "a"),
        (zlib.compress(chat({"content": "a"}), wbits=-15), "a"),
        (zstandard.compress(chat({"content": "a"})), "a"),
        (gzip.compress(HALF, mtime=0), "smile \ufffd cut"),
        (chat({"content": "a"}).decode().encode("utf-16"), "a"),
    ],
)
def test_answer_is_kept_whatever_its_bytes(body: bytes, text: str) -> None:
    answer = read(body)

    assert (answer.response, answer.failure) == (text, None)
    assert answer.completion_tokens == 3


def samples(*texts: str | None, **more: Any) -> bytes:
    choices = [
        {"index": index, "finish_reason": f"f{index}", "message": {"content": text}}
        for index, text in enumerate(texts)
    ]
    return orjson.dumps({"choices": choices[::-1], "usage": USAGE, **more})


def test_samples_are_ordered_and_the_first_with_text_is_the_response() -> None:
    answer = read(samples("", "b", "c"), keeps=EVERYTHING)

    assert (answer.response, answer.finish_reason) == ("b", "f1")
    assert answer.responses == [None, "b", "c"]


def test_samples_without_a_column_are_counted() -> None:
    answer = read(samples("a", "b"))

    assert (answer.response, answer.responses, answer.dropped) == ("a", None, "further choices")


def test_samples_without_any_text_are_an_error() -> None:
    answer = read(samples("", None), keeps=EVERYTHING)

    assert (answer.responses, kind(answer)) == (None, f.NO_TEXT)


SIDE_BY_SIDE = {
    "tokens": ["a", "b"],
    "token_ids": [1, 2],
    "token_logprobs": [-0.5, None],
    "top_logprobs": [{"a": -0.5, "c": -2}, None],
}
ENTRIES = {
    "content": [
        {"token": "a", "logprob": -0.5, "top_logprobs": [{"token": "a", "logprob": -0.5}]},
        {"token": "b", "logprob": "x"},
    ]
}


@pytest.mark.parametrize("given", [SIDE_BY_SIDE, ENTRIES])
def test_logprobs_are_read_in_both_forms(given: Any) -> None:
    choice = {"message": {"content": "ab"}, "finish_reason": "stop", "logprobs": given}

    found = read(orjson.dumps({"choices": [choice]}), keeps=EVERYTHING).logprobs

    assert found is not None
    assert [one["token"] for one in found] == ["a", "b"]
    assert [one["logprob"] for one in found] == [-0.5, None]
    assert found[0]["top_logprobs"][0] == {"token": "a", "logprob": -0.5}
    assert found[1]["top_logprobs"] is None


ENTRY = {"token": "a", "logprob": -0.5}


@pytest.mark.parametrize(
    "given",
    [
        [ENTRY],
        {"content": [{"token": "a", "logprob": "-0.5"}]},
        {"content": [{"token": None, "bytes": [97], "logprob": -0.5}]},
        {"content": None, "refusal": [ENTRY]},
        {"content": [], "tokens": ["a"], "token_logprobs": [-0.5]},
        {"tokens": ["a"], "token_logprobs": ["-0.5"]},
    ],
)
def test_logprobs_of_other_shapes_are_read(given: Any) -> None:
    for choice in (
        {"message": {"content": "a"}, "logprobs": given},
        {"message": {"role": "assistant", "content": "a", "logprobs": given}},
    ):
        answer = read(orjson.dumps({"choices": [choice]}), keeps=EVERYTHING)

        assert answer.logprobs == [
            {"token": "a", "token_id": None, "logprob": -0.5, "top_logprobs": None}
        ]
        assert answer.dropped is None


def test_top_logprobs_with_a_rank_are_read() -> None:
    given = {"tokens": ["a"], "token_logprobs": [-1], "top_logprobs": [{"a": {"logprob": -1}}]}
    choice = {"message": {"content": "a"}, "logprobs": given}

    (found,) = read(orjson.dumps({"choices": [choice]}), keeps=EVERYTHING).logprobs or []

    assert found["top_logprobs"] == [{"token": "a", "logprob": -1.0}]


@pytest.mark.parametrize(
    ("tokens", "at"), [(["yes"], 0), (["yes", "no", "."], 1), (["a", "b", "c"], 2)]
)
def test_top_logprobs_without_position_are_kept_with_their_token(
    tokens: list[str], at: int
) -> None:
    given = {"tokens": tokens, "top_logprobs": {"yes": -0.1, "no": -2.5}}
    if at:
        given["top_logprobs"] = {"no": -0.1, "never": -2.5}
    choice = {"message": {"content": "x"}, "finish_reason": "stop", "logprobs": given}

    found = read(orjson.dumps({"choices": [choice]}), keeps=EVERYTHING).logprobs

    assert found is not None
    assert [number for number, one in enumerate(found) if one["top_logprobs"]] == [at]
    assert [one["logprob"] for one in found[at]["top_logprobs"]] == [-0.1, -2.5]


def test_fields_without_a_column_are_named_unless_empty() -> None:
    message = {"content": "a", "audio": {"data": "x"}, "annotations": [], "role": "assistant"}

    assert read(chat(message, citations=["u"], prompt=[], id="x")).dropped == "audio,citations"


def vectors(*given: Any, **more: Any) -> Answer:
    data = [{"index": index, "embedding": vector} for index, vector in enumerate(given)]
    found = read_embeddings(5, orjson.dumps({"data": data[::-1], **more}), 1, 0.5)
    assert isinstance(found, Answer)
    return found


def test_invalid_vector_leaves_the_others() -> None:
    found = vectors([1.0, 2.0], None, [3.0], [None, 1.0], ["1", 2], [4, 5], [1e300, 1]).responses

    assert found is not None
    assert [one is not None for one in found] == [True, False, False, False, False, True, False]


def test_vectors_in_base64_are_read() -> None:
    plain = vectors([1.0, 2.0]).responses

    assert plain is not None
    assert vectors(plain[0]).responses == plain


def test_fields_of_other_samples_without_a_column_are_counted() -> None:
    choices = [
        {"index": index, "message": {"content": "a", "tool_calls": [CALL], "reasoning": "hm"}}
        for index in range(2)
    ]

    found = read(orjson.dumps({"choices": choices}), keeps=EVERYTHING)

    assert found.reasoning == "hm"
    assert found.dropped == "reasoning of further samples,tool_calls of further samples"
