"""Chat completions of the emulated model, and refused requests."""

from typing import Any

import pytest

from tests.support.emulator_client import EmulatorClient, code, message


def text(api: EmulatorClient, model: str, prompt: str = "Why?", **body: Any) -> str:
    """Return the answer's text."""
    content: str = api.chat(model, prompt, **body).json()["choices"][0]["message"]["content"]
    return content


def test_answer_is_deterministic_for_its_request(api: EmulatorClient) -> None:
    endpoint, _ = api.serve()
    name = endpoint["name"]

    assert text(api, name, "one") == text(api, name, "one")
    assert text(api, name, "one") != text(api, name, "two")
    assert text(api, name, seed=1) != text(api, name, seed=2)
    assert text(api, name, temperature=0.2) != text(api, name, temperature=0.9)
    assert text(api, name, temperature=0, seed=1) == text(api, name, temperature=0, seed=2)


def test_usage_adds_up_and_truncated_answer_finishes_with_length(api: EmulatorClient) -> None:
    endpoint, _ = api.serve()

    whole = api.chat(endpoint["name"], "word " * 100).json()
    short = api.chat(endpoint["name"], "word " * 100, max_tokens=5).json()

    usage = short["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert (usage["completion_tokens"], short["choices"][0]["finish_reason"]) == (5, "length")
    assert whole["choices"][0]["finish_reason"] == "stop"
    assert whole["choices"][0]["message"]["content"].startswith(
        short["choices"][0]["message"]["content"]
    )


def test_repeated_prompt_is_cached(api: EmulatorClient) -> None:
    endpoint, _ = api.serve()
    prompt = "A long system prompt that all rows share. " * 50

    first = api.chat(endpoint["name"], f"{prompt} one").json()["usage"]
    second = api.chat(endpoint["name"], f"{prompt} two").json()["usage"]

    assert first["cached_tokens"] == 0
    assert 0.8 * second["prompt_tokens"] < second["cached_tokens"] < second["prompt_tokens"]


def test_stop_sequence_ends_the_answer_before_it(api: EmulatorClient) -> None:
    endpoint, _ = api.serve()
    whole = text(api, endpoint["name"])
    word = whole.split()[3]

    cut = api.chat(endpoint["name"], stop=[word]).json()["choices"][0]

    assert cut["message"]["content"] == whole[: whole.find(word)]
    assert cut["finish_reason"] == "stop"


def test_several_choices_differ(api: EmulatorClient) -> None:
    endpoint, _ = api.serve()

    answer = api.chat(endpoint["name"], n=3).json()

    texts = [choice["message"]["content"] for choice in answer["choices"]]
    assert len(set(texts)) == 3
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_tokens", 0),
        ("max_tokens", "ten"),
        ("max_tokens", True),
        ("temperature", -0.1),
        ("temperature", "hot"),
        ("top_p", 1.5),
        ("n", 0),
        ("n", 129),
        ("stop", "word"),
        ("stop", [""]),
        ("seed", 1.5),
        ("logprobs", 21),
        ("messages", []),
        ("messages", "hello"),
        ("messages", [{"role": "robot", "content": "x"}]),
        ("messages", [{"role": "user"}]),
        ("messages", [{"role": "user", "content": "x", "colour": "red"}]),
        ("response_format", {"type": "xml"}),
        ("response_format", {"type": "json_schema", "json_schema": {"schema": {}}}),
        ("tool_choice", "required"),
        ("context_length_exceeded_behavior", "ignore"),
    ],
)
def test_parameter_of_wrong_type_or_range_is_refused(
    api: EmulatorClient, field: str, value: Any
) -> None:
    endpoint, _ = api.serve()

    refused = api.chat(endpoint["name"], **{field: value})

    assert refused.status_code == 400
    assert refused.json()["error"]["param"]


@pytest.mark.parametrize("field", ["model", "messages"])
def test_missing_parameter_is_named(api: EmulatorClient, field: str) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    del body[field]

    refused = api.http.post("/v1/chat/completions", json=body)

    assert (refused.status_code, refused.json()["error"]["param"]) == (400, field)


def test_prompt_beyond_context_is_refused_or_truncated(api: EmulatorClient) -> None:
    endpoint, _ = api.serve()
    name = endpoint["name"]

    too_much = api.chat(name, max_tokens=40_000)
    truncated = api.chat(name, max_tokens=40_000, context_length_exceeded_behavior="truncate")
    too_long = api.chat(name, "word " * 30_000)

    assert too_much.json()["error"]["param"] == "max_tokens"
    assert truncated.status_code == 200
    assert code(too_long) == (400, "context_length_exceeded")
    assert "32768" in message(too_long)


def test_oversized_request_is_413(api: EmulatorClient) -> None:
    endpoint, _ = api.serve()

    assert code(api.chat(endpoint["name"], "x" * 11_000_000)) == (413, "payload_too_large")


def test_embedding_model_refuses_chat(api: EmulatorClient) -> None:
    profile = api.profile("intfloat/multilingual-e5-large-instruct")
    endpoint, _ = api.serve(profile=profile)

    assert code(api.chat(endpoint["name"])) == (400, "model_not_available")
