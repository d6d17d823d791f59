"""Failures: text and back, and when failing rows end a run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mayfly.inference.circuit_breaker import CircuitBreaker
from mayfly.models import failures as f
from mayfly.models.errors import EndpointLost, TerminalError
from mayfly.models.failures import Failure, kind_of

codes = st.text(st.characters(categories=["L", "N"], include_characters="_-."), max_size=12)
failures = st.builds(
    Failure,
    kind=st.sampled_from([f.TOO_LONG, f.SCHEMA, f.NULL_PROMPT, f.OTHER]),
    message=st.text(),
    status=st.none() | st.integers(100, 599),
    code=codes,
    attempts=st.integers(0, 10**6),
)


@given(failures)
def test_failure_text_round_trips(failure: Failure) -> None:
    if failure.status is None:
        failure = failure._replace(code="")

    assert Failure.parse(str(failure)) == failure


@given(st.text())
def test_any_text_is_parsed_as_a_failure(text: str) -> None:
    assert Failure.parse(text).message in text


def test_failure_text_is_a_sentence() -> None:
    sent = Failure(f.RATE_LIMITED, "slow down", 429, "rate_limit", attempts=6)
    unsent = Failure(f.NULL_PROMPT, "column q is null")

    assert str(sent) == "rate_limited: HTTP 429 rate_limit after 6 attempts: slow down"
    assert str(unsent) == "null_prompt: not sent: column q is null"


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "", f.INVALID_REQUEST),
        (400, "context_length_exceeded", f.TOO_LONG),
        (413, "", f.TOO_LONG),
        (418, "", f.INVALID_REQUEST),
        (429, "", f.RATE_LIMITED),
        (599, "", f.SERVER_ERROR),
    ],
)
def test_status_and_code_have_an_error_class(status: int, code: str, kind: str) -> None:
    assert kind_of(status, code) == kind


TOO_LONG_WORDS = [
    # vLLM
    "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (4900 "
    "in the messages, 100 in the completion). Please reduce the length of the messages.",
    "The decoder prompt (length 5000) is longer than the maximum model length of 4096.",
    "'max_tokens' or 'max_completion_tokens' is too large: 5000. This model's maximum context "
    "length is 4096 tokens and your request has 10 input tokens (5000 > 4096 - 10).",
    "You passed 5000 input tokens and requested 10 output tokens. However, the model's context "
    "length is only 4096 tokens.",
    # SGLang
    "The input (5000 tokens) is longer than the model's context length (4096 tokens).",
    "Requested token count exceeds the model's maximum context length of 4096 tokens.",
    "Input length (5000 tokens) exceeds the maximum allowed length (4096 tokens).",
    # TGI and TEI
    "Input validation error: `inputs` must have less than 4096 tokens. Given: 5000",
    "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 "
    "`inputs` tokens and 10 `max_new_tokens`",
    # OpenAI, llama.cpp, TensorRT-LLM, others
    "Input tokens exceed the configured limit of 272000 tokens.",
    "the request exceeds the available context size, try increasing it",
    "prompt length (5000) plus max_tokens exceeds max_seq_len: context window is full",
    "prompt is too long: 5000 tokens > 4096 maximum",
    "the input length exceeds the context length",
    # Together
    "The prompt exceeds the maximum number of tokens for this model",
    "Too many input tokens: 5000 > 4096",
]


@pytest.mark.parametrize("text", TOO_LONG_WORDS, ids=range(len(TOO_LONG_WORDS)))
@pytest.mark.parametrize("status", [400, 403, 413, 422])
def test_context_length_message_is_recognised_under_any_status(status: int, text: str) -> None:
    assert kind_of(status, "", text) == f.TOO_LONG


@pytest.mark.parametrize(
    "text",
    [
        "max_tokens must be <= 4096, given 5000",
        "Rate limit exceeded: 5000 requests",
        "temperature must be at most 2",
        "You do not have access to this model",
        "request body is malformed",
        "the image exceeds 20 MB",
        "n exceeds the maximum of 128",
        "tool_choice requires tools",
    ],
)
def test_other_messages_are_not_context_length(text: str) -> None:
    assert not f.too_long(text)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_server_error_is_never_context_length(status: int) -> None:
    assert kind_of(status, "", "number of tokens per minute exceeded") != f.TOO_LONG


SAME = Failure(f.INVALID_REQUEST, "max_tokens must be <= 4096, given 5000", 400, "", 1)


def test_request_wrong_for_every_row_is_detected() -> None:
    breaker = CircuitBreaker(rows=4)

    ends = [breaker.failed(SAME._replace(message=f"given {row}")) for row in range(4)]

    assert ends[:3] == [None] * 3
    assert isinstance(ends[3], TerminalError)
    assert "each of the first 4 rows failed with the same error" in str(ends[3])


@pytest.mark.parametrize(
    "failure", [SAME, Failure(f.SCHEMA, "no", 200, "", 3), Failure(f.NO_TEXT, "no", 200, "", 1)]
)
def test_failing_rows_never_end_a_run_after_one_answer(failure: Failure) -> None:
    breaker = CircuitBreaker(rows=4)
    breaker.answered()

    assert all(breaker.failed(failure) is None for _ in range(100))


def test_rows_that_are_too_long_never_end_a_run() -> None:
    breaker = CircuitBreaker(rows=4)

    assert all(breaker.failed(Failure(f.TOO_LONG, "long", 400)) is None for _ in range(100))


@given(st.lists(st.booleans(), max_size=60))
def test_endpoint_is_given_up_after_consecutive_failed_rows(
    history: list[bool],
) -> None:
    breaker = CircuitBreaker(rows=5, proven=True)
    in_a_row = 0
    for answered in history:
        in_a_row = 0 if answered else in_a_row + 1
        if answered:
            breaker.answered()
            continue
        end = breaker.failed(Failure(f.SERVER_ERROR, "broken", 500, "", 6))
        assert (end is not None) == (in_a_row >= 5)
        assert end is None or isinstance(end, EndpointLost)
