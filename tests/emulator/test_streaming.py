"""Streamed responses, read by the official SDK."""

import json

import httpx
import pytest
from together import APIError, Together

from tests.support.emulator_client import TOOL, EmulatorClient, user_messages
from together_emulator import Emulator, ManualClock


def test_streamed_answer_equals_the_plain_answer(together: Together, api: EmulatorClient) -> None:
    endpoint, _ = api.serve()
    whole = together.chat.completions.create(model=endpoint["name"], messages=user_messages())

    chunks = list(
        together.chat.completions.create(
            model=endpoint["name"], messages=user_messages(), stream=True
        )
    )

    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert whole.choices[0].message is not None
    assert text == whole.choices[0].message.content
    assert [c.choices[0].finish_reason for c in chunks[-2:]] == [None, "stop"]
    assert chunks[-1].usage == whole.usage
    assert len({chunk.id for chunk in chunks}) == 1


def test_streamed_choices_have_their_index(together: Together, api: EmulatorClient) -> None:
    endpoint, _ = api.serve()

    stream = together.chat.completions.create(
        model=endpoint["name"], messages=user_messages(), stream=True, n=3, max_tokens=4, logprobs=1
    )
    texts = ["", "", ""]
    for chunk in stream:
        texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""

    assert len(set(texts)) == 3


def test_streamed_completion_equals_the_plain_completion(
    together: Together, api: EmulatorClient
) -> None:
    endpoint, _ = api.serve()
    whole = together.completions.create(model=endpoint["name"], prompt="Once", max_tokens=9)

    chunks = list(
        together.completions.create(
            model=endpoint["name"], prompt="Once", max_tokens=9, stream=True
        )
    )

    assert "".join(chunk.choices[0].text or "" for chunk in chunks) == whole.choices[0].text
    assert "".join(chunk.token.text for chunk in chunks) == whole.choices[0].text
    assert chunks[-1].finish_reason == whole.choices[0].finish_reason == "length"
    assert chunks[-1].usage == whole.usage


def test_streamed_tool_call_equals_the_plain_call(together: Together, api: EmulatorClient) -> None:
    endpoint, _ = api.serve()

    chunks = list(
        together.chat.completions.create(
            model=endpoint["name"], messages=user_messages(), tools=[TOOL], stream=True
        )
    )

    calls = [call for c in chunks for call in c.choices[0].delta.tool_calls or []]
    assert [call.function.name for call in calls] == ["weather"]
    assert "city" in json.loads(calls[0].function.arguments)
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_stream_that_cannot_begin_is_refused_with_a_status(api: EmulatorClient) -> None:
    refused = api.chat("emulated-project/none", stream=True)

    assert refused.status_code == 404
    assert refused.json()["id"] == refused.headers["x-request-id"]


def test_stream_of_lost_replica_ends_in_an_error(together: Together) -> None:
    # The clock is stopped, so that the stream waits in its middle until it advances.
    clock = ManualClock(holds_answers=True)
    with Emulator(clock=clock) as emulator:
        headers = {"authorization": f"Bearer {emulator.key}"}
        with httpx.Client(base_url=emulator.url, headers=headers, timeout=20) as http:
            endpoint, _ = EmulatorClient(emulator, http).serve()
            client = together.copy(base_url=emulator.url)
            stream = client.chat.completions.create(
                model=endpoint["name"], messages=user_messages(), stream=True
            )
            emulator.lose_replica()
            while not clock.sleepers:
                pass
            clock.advance(10)

            with pytest.raises(APIError, match="gone"):
                list(stream)


def test_stream_of_disconnected_client_frees_its_slot(api: EmulatorClient) -> None:
    endpoint, _ = api.serve()
    body = {"model": endpoint["name"], "messages": user_messages(), "stream": True}

    with api.http.stream("POST", "/v1/chat/completions", json=body) as answer:
        next(answer.iter_lines())

    while api.in_flight():
        pass


def test_stream_is_server_sent_events_that_end_in_done(api: EmulatorClient) -> None:
    endpoint, _ = api.serve()

    answer = api.chat(endpoint["name"], stream=True, max_tokens=2)

    events = answer.text.split("\n\n")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert events[-2:] == ["data: [DONE]", ""]
    assert all(event.startswith("data: {") for event in events[:-2])
