"""Completions, embeddings, tools, logprobs and headers, read by the official SDK."""

import json
import math
from typing import Any

import pytest
from together import Together

from tests.support.emulator_client import TOOL, EmulatorClient, code, user_messages
from together_emulator import Emulator

EMBEDDING = "intfloat/multilingual-e5-large-instruct"


def test_completion_is_deterministic_for_its_prompt(
    together: Together, api: EmulatorClient
) -> None:
    endpoint, _ = api.serve()
    name = endpoint["name"]

    one = together.completions.create(model=name, prompt="Once", max_tokens=7, n=2)
    again = together.completions.create(model=name, prompt="Once", max_tokens=7, n=2)
    echoed = together.completions.create(model=name, prompt="Once", max_tokens=7, echo=True)

    texts = [choice.text for choice in one.choices]
    assert texts == [choice.text for choice in again.choices]
    assert len(set(texts)) == 2
    assert one.usage is not None
    assert one.usage.completion_tokens == 14
    assert echoed.choices[0].text == f"Once{texts[0]}"
    assert [part.text for part in echoed.prompt] == ["Once"]


def test_logprobs_have_an_entry_for_each_token(together: Together, api: EmulatorClient) -> None:
    endpoint, _ = api.serve()

    choice = together.chat.completions.create(
        model=endpoint["name"], messages=user_messages(), logprobs=3
    ).choices[0]

    assert choice.logprobs is not None
    assert choice.message is not None
    tokens, drawn = choice.logprobs.tokens or [], choice.logprobs.token_logprobs or []
    assert "".join(tokens) == choice.message.content
    assert len(tokens) == len(drawn) == len(choice.logprobs.token_ids or [])
    assert all(-10 < logprob <= 0 for logprob in drawn)
    assert len(choice.logprobs.top_logprobs or {}) == 3


def test_tool_is_called_and_its_result_answered(together: Together, api: EmulatorClient) -> None:
    endpoint, _ = api.serve()
    messages = user_messages("Weather in Oslo?")

    first = together.chat.completions.create(
        model=endpoint["name"], messages=messages, tools=[TOOL]
    ).choices[0]
    assert first.message is not None
    calls = first.message.tool_calls or []
    messages += [
        {"role": "assistant", "content": None, "tool_calls": [c.model_dump() for c in calls]},
        {"role": "tool", "tool_call_id": calls[0].id, "content": "rain"},
    ]
    second = together.chat.completions.create(
        model=endpoint["name"], messages=messages, tools=[TOOL]
    ).choices[0]

    assert (first.finish_reason, first.message.content) == ("tool_calls", None)
    assert isinstance(json.loads(calls[0].function.arguments)["city"], str)
    assert second.message is not None
    assert (second.finish_reason, second.message.tool_calls) == ("stop", None)
    assert second.message.content


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ("none", "stop"),
        ("required", "tool_calls"),
        ({"type": "function", "function": {"name": "weather"}}, "tool_calls"),
    ],
)
def test_tool_choice_is_followed(api: EmulatorClient, choice: Any, reason: str) -> None:
    endpoint, _ = api.serve()

    answer = api.chat(endpoint["name"], tools=[TOOL], tool_choice=choice).json()

    assert answer["choices"][0]["finish_reason"] == reason


def test_reasoning_model_thinks_on_request(together: Together, api: EmulatorClient) -> None:
    endpoint, _ = api.serve(profile=api.profile("Qwen/Qwen3-32B", "H200"))
    api.emulator.clock.advance(600)

    plain, thought = (
        together.chat.completions.create(
            model=endpoint["name"], messages=user_messages(), reasoning={"enabled": enabled}
        )
        for enabled in (False, True)
    )

    assert plain.choices[0].message is not None
    assert thought.choices[0].message is not None
    assert plain.choices[0].message.reasoning is None
    assert thought.choices[0].message.reasoning
    assert plain.usage is not None
    assert thought.usage is not None
    assert thought.usage.completion_tokens > plain.usage.completion_tokens


def test_embeddings_have_norm_one_and_keep_order(together: Together, api: EmulatorClient) -> None:
    endpoint, _ = api.serve(profile=api.profile(EMBEDDING))

    several = together.embeddings.create(model=endpoint["name"], input=["one", "two", "one"]).data
    single = together.embeddings.create(model=endpoint["name"], input="two").data

    assert [entry.index for entry in several] == [0, 1, 2]
    assert several[0].embedding == several[2].embedding != several[1].embedding
    assert single[0].embedding == several[1].embedding
    assert len(single[0].embedding) == 1024
    assert math.hypot(*single[0].embedding) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("wrong", [None, "", [], ["one", ""], [1, 2], "word " * 2000])
def test_invalid_embedding_input_is_refused(api: EmulatorClient, wrong: Any) -> None:
    endpoint, _ = api.serve(profile=api.profile(EMBEDDING))

    refused = api.http.post("/v1/embeddings", json={"model": endpoint["name"], "input": wrong})

    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "input")


def test_chat_model_refuses_embeddings(api: EmulatorClient) -> None:
    endpoint, _ = api.serve()

    refused = api.http.post("/v1/embeddings", json={"model": endpoint["name"], "input": "x"})

    assert code(refused) == (400, "model_not_available")


def test_response_has_request_id_and_names_its_deployment(
    api: EmulatorClient,
) -> None:
    endpoint, deployment = api.serve()

    good, bad = api.chat(endpoint["name"]), api.chat("nobody")
    listed = api.http.get(f"{api.p}/endpoints")

    assert good.json()["id"] == good.headers["x-request-id"]
    assert bad.json()["id"] == bad.headers["x-request-id"]
    assert good.headers["x-cluster"] == deployment["id"]
    ids = [call.request_id for call in api.emulator.calls()[-3:]]
    assert ids == [answer.headers["x-request-id"] for answer in (good, bad, listed)]


def test_rate_limit_response_has_retry_after(api: EmulatorClient) -> None:
    endpoint, _ = api.serve()
    api.emulator.change(requests_per_s=2)
    api.emulator.clock.advance(60)

    answers = [api.chat(endpoint["name"]) for _ in range(3)]
    api.emulator.clock.advance(0.5)
    later = api.chat(endpoint["name"])

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["1", "0", "0"]
    assert code(answers[-1]) == (429, "dynamic_request_limited")
    assert float(answers[-1].headers["x-ratelimit-reset"]) == pytest.approx(0.5)
    assert later.status_code == 200


def test_dedicated_endpoint_has_no_rate_limit_by_default(api: EmulatorClient) -> None:
    endpoint, _ = api.serve()

    answers = [api.chat(endpoint["name"], max_tokens=1) for _ in range(30)]

    assert {answer.status_code for answer in answers} == {200}
    assert not any(name.startswith("x-ratelimit") for name in answers[0].headers)


def test_usage_has_cached_tokens_in_either_field_or_none(
    api: EmulatorClient, emulator: Emulator
) -> None:
    endpoint, _ = api.serve()
    usages = {}
    for spelling in ("flat", "details", "none"):
        emulator.change(cached_tokens=spelling)
        usages[spelling] = api.chat(endpoint["name"], "word " * 200).json()["usage"]

    assert usages["flat"]["cached_tokens"] == 0
    assert usages["details"]["prompt_tokens_details"]["cached_tokens"] > 0
    assert usages["none"].keys() == {"prompt_tokens", "completion_tokens", "total_tokens"}
