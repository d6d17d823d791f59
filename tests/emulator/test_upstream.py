"""Upstream mode: emulated lifecycle, answers of an OpenAI-compatible server."""

import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from together import Together

from tests.emulator.conftest import TLS
from tests.support.emulator_client import SMALL, EmulatorClient, code, message, user_messages
from tests.support.upstream_server import HANGS, UpstreamHandler
from tests.support.wait import wait_until
from together_emulator import Emulator, ManualClock


@contextmanager
def listening(*listed: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server on a free port, with the models that it lists; yields URL and requests."""
    seen: list[dict[str, Any]] = []
    handler = type(
        "Handler", (UpstreamHandler,), {"seen": seen, "listed": listed or UpstreamHandler.listed}
    )
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", seen
        server.shutdown()
        thread.join()


@contextmanager
def in_front(url: str, **settings: Any) -> Iterator[EmulatorClient]:
    """An emulator in front of a server, and a client of it."""
    headers = {"authorization": "Bearer local"}
    with (
        Emulator(clock=ManualClock(), upstream=url, **settings) as emulator,
        httpx.Client(base_url=emulator.url, headers=headers, verify=TLS, timeout=20) as http,
    ):
        yield EmulatorClient(emulator, http)


@pytest.fixture
def behind() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server on a free port, and the requests that it received."""
    with listening() as server:
        yield server


@pytest.fixture
def emulator(behind: tuple[str, list[dict[str, Any]]]) -> Iterator[Emulator]:
    """An emulator in front of it."""
    with Emulator(clock=ManualClock(), upstream=behind[0], upstream_key="secret") as server:
        yield server


def test_upstream_answer_is_returned_in_togethers_shape(
    together: Together, api: EmulatorClient, behind: tuple[str, list[dict[str, Any]]]
) -> None:
    endpoint, _ = api.serve()

    answer = together.chat.completions.create(
        model=endpoint["name"], messages=user_messages(), max_tokens=9, reasoning={"enabled": False}
    )

    assert answer.choices[0].message is not None
    assert answer.choices[0].message.content == "Hello there."
    assert answer.model == endpoint["name"]
    assert answer.usage is not None
    assert answer.usage.total_tokens == 14
    sent = behind[1][-1]
    assert (sent["path"], sent["model"]) == ("/v1/chat/completions", "tiny.gguf")
    assert (sent["max_tokens"], sent["auth"]) == (9, "Bearer secret")
    assert "reasoning" not in sent


def test_upstream_completions_embeddings_and_streams_pass_through(
    together: Together, api: EmulatorClient
) -> None:
    endpoint, _ = api.serve()
    name = endpoint["name"]
    embedder, _ = api.serve(
        "embedder", profile=api.profile("intfloat/multilingual-e5-large-instruct")
    )

    text = together.completions.create(model=name, prompt="Say").choices[0].text
    chat = list(together.chat.completions.create(model=name, messages=user_messages(), stream=True))
    pieces = list(together.completions.create(model=name, prompt="Say", stream=True))
    vector = together.embeddings.create(model=embedder["name"], input="x").data[0].embedding

    assert text == "Hello there."
    assert "".join(c.choices[0].delta.content or "" for c in chat if c.choices) == "Hello"
    assert chat[-1].usage is not None
    assert "".join(piece.token.text for piece in pieces) == "Hello"
    assert [piece.finish_reason for piece in pieces][-2:] == ["stop", None]
    assert vector == [0.6, 0.8]


def test_upstream_leaves_lifecycle_and_bill_emulated(api: EmulatorClient) -> None:
    endpoint = api.endpoint()
    deployment = api.deploy(endpoint)
    api.route(endpoint, deployment)
    early = api.chat(endpoint["name"])
    api.emulator.clock.advance(600)

    late = api.chat(endpoint["name"])
    api.emulator.clock.advance(1)

    metrics = api.http.get(f"{api.p}/endpoints/{endpoint['id']}/analytics").json()["metrics"]
    assert (early.status_code, late.status_code) == (503, 200)
    assert api.emulator.billing == 1
    assert metrics["tokenMetrics"]["totalInputTokens"] == "11"
    assert api.in_flight() == 0


def test_upstream_refusal_passes_through_and_garbage_is_502(api: EmulatorClient) -> None:
    endpoint, _ = api.serve()

    busy = api.chat(endpoint["name"], seed=429)
    strange = api.chat(endpoint["name"], seed=500)
    unknown = api.chat("emulated-project/none")

    assert code(busy) == (429, "busy")
    assert message(busy) == "slot busy"
    assert code(strange) == (502, "bad_gateway")
    assert unknown.status_code == 404
    assert api.in_flight() == 0


def test_unreachable_upstream_is_502() -> None:
    headers = {"authorization": "Bearer local"}
    with (
        Emulator(clock=ManualClock(), upstream="http://127.0.0.1:9/v1") as emulator,
        httpx.Client(base_url=emulator.url, headers=headers, verify=TLS, timeout=20) as http,
    ):
        api = EmulatorClient(emulator, http)
        endpoint, _ = api.serve()

        refused = api.chat(endpoint["name"])

    assert code(refused) == (502, "bad_gateway")
    assert "http://127.0.0.1:9/v1" in message(refused)


def abandon(api: EmulatorClient, seen: list[dict[str, Any]], model: str, **body: Any) -> None:
    """Send a request that is never answered, and hang up once the server behind has it."""
    before = len(seen)
    raw = json.dumps(
        {"model": model, "messages": [{"role": "user", "content": "Hi"}], "seed": HANGS} | body
    ).encode()
    host, port = api.emulator.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer local\r\n"
            + f"content-length: {len(raw)}\r\n\r\n".encode()
            + raw
        )
        settle(lambda: len(seen) > before)


def settle(done: Callable[[], bool]) -> None:
    """Wait until the servers have noticed."""
    wait_until(done, "the servers notice", every_s=0.005)


@pytest.mark.parametrize("body", [{}, {"stream": True}])
def test_abandoned_request_is_cancelled_upstream(
    api: EmulatorClient, behind: tuple[str, list[dict[str, Any]]], body: dict[str, Any]
) -> None:
    endpoint, _ = api.serve()

    abandon(api, behind[1], endpoint["name"], **body)

    settle(lambda: behind[1][-1].get("dropped") is True)
    settle(lambda: api.in_flight() == 0)


def test_abandoned_request_in_upstream_queue_is_skipped() -> None:
    with listening() as (url, seen), in_front(url, slots=1) as api:
        endpoint, _ = api.serve()
        name = endpoint["name"]
        holder = threading.Thread(target=abandon, args=(api, seen, name))
        holder.start()
        settle(lambda: api.in_flight() == 1)
        holder.join()

        answered = api.chat(name)

        assert answered.status_code == 200
        settle(lambda: api.in_flight() == 0)


def test_abandoned_request_is_finished_where_that_is_set(
    behind: tuple[str, list[dict[str, Any]]],
) -> None:
    with in_front(behind[0], drops_abandoned=False) as api:
        endpoint, _ = api.serve()

        abandon(api, behind[1], endpoint["name"])

        assert "dropped" not in behind[1][-1]
        assert api.in_flight() == 1


def test_model_of_the_same_name_is_used_upstream() -> None:
    with listening("other", "qwen2.5-7b-instruct") as (url, seen), in_front(url) as api:
        endpoint, _ = api.serve()

        api.chat(endpoint["name"])

        assert seen[-1]["model"] == "qwen2.5-7b-instruct"


@pytest.mark.parametrize(
    ("models", "asked_for"),
    [
        ((("", "all"),), "all"),
        (((SMALL, "small.gguf"),), "small.gguf"),
        (((SMALL, "small.gguf"), ("", "all")), "small.gguf"),
        ((("Qwen/Qwen3-32B", "big.gguf"),), "tiny.gguf"),
    ],
)
def test_upstream_model_is_the_one_that_is_configured(
    behind: tuple[str, list[dict[str, Any]]],
    models: tuple[tuple[str, str], ...],
    asked_for: str,
) -> None:
    with in_front(behind[0], upstream_models=models) as api:
        endpoint, _ = api.serve()

        api.chat(endpoint["name"])

        assert behind[1][-1]["model"] == asked_for


@pytest.mark.parametrize(
    ("body", "template"),
    [
        ({"reasoning": {"enabled": False}}, {"enable_thinking": False}),
        ({"reasoning": {"enabled": True}}, {"enable_thinking": True}),
        (
            {"reasoning": {"enabled": True}, "chat_template_kwargs": {"enable_thinking": False}},
            {"enable_thinking": False},
        ),
        ({}, None),
    ],
)
def test_thinking_is_switched_in_the_upstream_template(
    api: EmulatorClient,
    behind: tuple[str, list[dict[str, Any]]],
    body: dict[str, Any],
    template: Mapping[str, Any] | None,
) -> None:
    endpoint, _ = api.serve()

    api.chat(endpoint["name"], **body)

    assert behind[1][-1].get("chat_template_kwargs") == template
    assert "reasoning" not in behind[1][-1]


def test_images_and_extra_fields_pass_through_to_upstream(
    api: EmulatorClient, behind: tuple[str, list[dict[str, Any]]]
) -> None:
    endpoint, _ = api.serve(profile=api.profile("Qwen/Qwen3-VL-8B-Instruct"))
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "What?"}, part]}]

    answered = api.chat(endpoint["name"], messages=messages, min_tokens=3)

    assert answered.status_code == 200
    assert behind[1][-1]["messages"] == messages
    assert behind[1][-1]["min_tokens"] == 3
