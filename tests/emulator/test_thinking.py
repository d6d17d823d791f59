"""Reasoning models."""

import json
from typing import Any

import pytest
from together import Together

from tests.support.emulator_client import TOOL, EmulatorClient, user_messages

THINKING = "Qwen/Qwen3.5-9B"
ALWAYS = "openai/gpt-oss-20b"
ON_REQUEST = "Qwen/Qwen3-32B"


def served(api: EmulatorClient, model: str, hardware: str = "H100") -> str:
    """Serve a model; returns the endpoint's name."""
    name: str = api.serve(profile=api.profile(model, hardware))[0]["name"]
    api.emulator.clock.advance(400)
    return name


def choice(api: EmulatorClient, model: str, **body: Any) -> dict[str, Any]:
    """Return the first choice of an answer."""
    found: dict[str, Any] = api.chat(model, **body).json()["choices"][0]
    return found


def thinks(api: EmulatorClient, model: str, **body: Any) -> bool:
    """Whether an answer comes with thinking."""
    return "reasoning" in choice(api, model, **body)["message"]


def test_thinking_by_default_comes_beside_the_answer(
    api: EmulatorClient, together: Together
) -> None:
    answer = together.chat.completions.create(model=served(api, THINKING), messages=user_messages())

    message = answer.choices[0].message
    assert message is not None
    assert message.reasoning
    assert message.content
    assert answer.choices[0].finish_reason == "stop"


@pytest.mark.parametrize(
    "body",
    [
        {"reasoning": {"enabled": False}},
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"chat_template_kwargs": {"thinking": False}},
    ],
)
def test_thinking_turned_off_leaves_only_the_answer(
    api: EmulatorClient, body: dict[str, Any]
) -> None:
    name = served(api, THINKING)

    assert thinks(api, name)
    assert not thinks(api, name, **body)


def test_thinking_on_request_needs_the_request(api: EmulatorClient) -> None:
    name = served(api, ON_REQUEST, "H200")

    assert not thinks(api, name)
    assert thinks(api, name, reasoning={"enabled": True})


def test_thinking_of_a_model_that_always_thinks_has_no_switch(api: EmulatorClient) -> None:
    assert thinks(api, served(api, ALWAYS), reasoning={"enabled": False})


def test_thinking_grows_with_the_effort(api: EmulatorClient) -> None:
    name = served(api, ALWAYS)

    lengths = [
        len(choice(api, name, reasoning_effort=effort)["message"]["reasoning"])
        for effort in ("low", "medium", "high")
    ]

    assert lengths == sorted(lengths)
    assert lengths[2] > 2 * lengths[0]


def test_thinking_is_counted_in_completion_tokens(api: EmulatorClient) -> None:
    name = served(api, THINKING)

    with_it = api.chat(name, temperature=0).json()["usage"]
    without = api.chat(name, temperature=0, reasoning={"enabled": False}).json()["usage"]

    assert with_it["completion_tokens"] >= without["completion_tokens"] + 40
    assert with_it["total_tokens"] == with_it["prompt_tokens"] + with_it["completion_tokens"]


@pytest.mark.parametrize(
    "body", [{}, {"tools": [TOOL]}, {"response_format": {"type": "json_object"}}]
)
def test_thinking_cut_by_max_tokens_leaves_no_answer(
    api: EmulatorClient, body: dict[str, Any]
) -> None:
    answer = api.chat(served(api, THINKING), max_tokens=16, **body).json()

    cut = answer["choices"][0]
    assert cut["finish_reason"] == "length"
    assert cut["message"]["content"] == ""
    assert cut["message"]["reasoning"]
    assert "tool_calls" not in cut["message"]
    assert answer["usage"]["completion_tokens"] == 16


def test_thinking_before_a_tool_call_keeps_both(api: EmulatorClient) -> None:
    called = choice(api, served(api, THINKING), tools=[TOOL])

    assert called["finish_reason"] == "tool_calls"
    assert called["message"]["reasoning"]
    assert json.loads(called["message"]["tool_calls"][0]["function"]["arguments"])


def test_thinking_has_its_other_field_name_where_configured(api: EmulatorClient) -> None:
    name = served(api, THINKING)
    api.emulator.change(reasoning_field="reasoning_content")

    message = choice(api, name)["message"]

    assert message["reasoning_content"]
    assert "reasoning" not in message


def test_thinking_is_streamed_before_the_answer(api: EmulatorClient, together: Together) -> None:
    stream = together.chat.completions.create(
        model=served(api, THINKING), messages=user_messages(), stream=True
    )

    kinds = [
        "thought" if getattr(chunk.choices[0].delta, "reasoning", None) else "answer"
        for chunk in stream
        if chunk.choices
    ]

    assert kinds == sorted(kinds, reverse=True)
    assert len(set(kinds)) == 2


def test_catalogue_says_which_models_reason(api: EmulatorClient) -> None:
    listed = api.http.get("/v2/supported-models").json()["data"]
    reasoning = {m["name"] for m in listed if "FEATURE_REASONING" in m.get("features", [])}

    assert reasoning == {THINKING, ALWAYS, ON_REQUEST}
