"""OpenAI batch lines as input: sent unchanged, to one endpoint."""

from typing import Any

import orjson
import pytest

from mayfly.inference.batch_requests import as_requests, asked_by, check_model, path_of
from mayfly.inference.request_builder import Renderer
from mayfly.models.batch_lines import BatchLines
from mayfly.models.errors import BadRequest
from mayfly.models.job import PromptSpec, Sampling
from mayfly.storage.cells import UnreadableCell

CHAT = BatchLines(("m",), ("/v1/chat/completions",))
MESSAGES = [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]


def sent(bodies: list[Any], lines: BatchLines = CHAT, **sampling: Any) -> list[Any]:
    """Return the requests for some bodies, or their error messages."""
    renderer = Renderer(PromptSpec(), Sampling(**sampling), ["custom_id", "body"], requests=lines)
    requests = renderer.bodies("endpoint", 0, {"body": bodies}, len(bodies))
    return [
        orjson.loads(one.body) if one.failure is None else one.failure.message for one in requests
    ]


def test_batch_body_is_sent_with_the_endpoint_as_model() -> None:
    body = {"model": "m", "messages": MESSAGES, "stop": None, "stream": True, "top_k": 3}

    [request] = sent([body])

    assert request == {"model": "endpoint", "messages": MESSAGES, "stop": None, "top_k": 3}


def test_batch_body_fields_override_options() -> None:
    body = {"messages": MESSAGES, "max_tokens": 9}

    [request] = sent([body], max_tokens=5, temperature=0)

    assert request == {
        "model": "endpoint",
        "messages": MESSAGES,
        "max_tokens": 9,
        "temperature": 0,
    }


def test_invalid_batch_body_is_an_error_of_its_row() -> None:
    errors = sent([None, "text", {"model": "m"}, UnreadableCell("bytes"), {"messages": MESSAGES}])

    assert all(isinstance(error, str) for error in errors[:4])
    assert errors[4]["messages"] == MESSAGES


def test_embedding_lines_are_batched_and_have_one_text_each() -> None:
    lines = BatchLines((), ("/v1/embeddings",))
    renderer = Renderer(PromptSpec(), Sampling(), ["body"], requests=lines)

    assert (renderer.path, renderer.embeds) == ("embeddings", True)
    results = sent([{"input": "a"}, {"input": ["b"]}, {"input": ["c", "d"]}], lines)
    assert [one["input"] for one in results[:2]] == [["a"], ["b"]]
    assert "one text per line" in results[2]


def test_requests_for_another_model_are_refused_before_create() -> None:
    check_model(BatchLines(), "m")
    check_model(CHAT, "m")
    with pytest.raises(BadRequest, match="--model other: the input has requests for m"):
        check_model(CHAT, "other")


@pytest.mark.parametrize("urls", [("/v1/chat/completions", "/v1/embeddings"), ("/v1/responses",)])
def test_requests_for_mixed_urls_are_refused(urls: tuple[str, ...]) -> None:
    with pytest.raises(BadRequest, match="the input has requests for"):
        path_of(BatchLines((), urls))


def test_prompt_option_builds_the_requests() -> None:
    assert asked_by(CHAT, PromptSpec()) is CHAT
    assert asked_by(CHAT, PromptSpec(template="{{ custom_id }}")) is None


def test_samples_and_logprobs_of_batch_lines_have_columns() -> None:
    lines = BatchLines((), (), 3, logprobs=True)

    _, sampling = as_requests(PromptSpec(), Sampling(), lines)

    assert (sampling.samples, sampling.logprobs) == (3, 1)
    [request] = sent([{"messages": MESSAGES}], lines)
    assert "n" not in request
