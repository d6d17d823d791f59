"""Lifecycle emulated, answers real: a server of OpenAI's kind stands behind the emulator."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from together import Together

from tests.emulator.conftest import TLS
from tests.emulator.test_streaming import asked
from tests.support.emulator_client import EmulatorClient, code, message
from together_emulator import Emulator, ManualClock

USAGE = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}


class Behind(BaseHTTPRequestHandler):
    """Answers as llama.cpp does, without a model."""

    seen: list[dict[str, Any]]
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._answer({"object": "list", "data": [{"id": "tiny.gguf", "object": "model"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.seen.append({"path": self.path, "auth": self.headers["authorization"], **body})
        if body.get("seed") == 429:
            self._answer({"error": {"message": "slot busy", "code": "busy"}}, 429)
        elif body.get("seed") == 500:
            self._answer(["not", "an", "object"])
        elif body.get("stream"):
            self._stream("text" if "prompt" in body else "delta")
        elif "input" in body:
            data = [{"object": "embedding", "index": 0, "embedding": [0.6, 0.8]}]
            self._answer({"object": "list", "model": "tiny.gguf", "data": data})
        else:
            self._answer(self._whole(chat="messages" in body))

    def _whole(self, *, chat: bool) -> dict[str, Any]:
        said = {"message": {"role": "assistant", "content": "Hello there."}} if chat else {}
        return {
            "id": "cmpl-1",
            "object": "chat.completion" if chat else "text_completion",
            "created": 1,
            "model": "tiny.gguf",
            "choices": [{"index": 0, "finish_reason": "stop", "text": "Hello there.", **said}],
            "usage": USAGE,
        }

    def _stream(self, kind: str) -> None:
        parts: list[dict[str, Any]] = []
        for word in ("Hel", "lo"):
            said: Any = {"content": word} if kind == "delta" else word
            parts.append({"choices": [{"index": 0, kind: said, "finish_reason": None}]})
        last: Any = {} if kind == "delta" else ""
        parts.append({"choices": [{"index": 0, kind: last, "finish_reason": "stop"}]})
        parts.append({"choices": [], "usage": USAGE})
        name = "chat.completion.chunk" if kind == "delta" else "text_completion"
        head = {"id": "x", "object": name, "created": 1, "model": "tiny.gguf"}
        events = [f"data: {json.dumps(head | part)}\n\n" for part in parts]
        self._send("".join([*events, "data: [DONE]\n\n"]).encode(), 200, "text/event-stream")

    def _answer(self, value: Any, status: int = 200) -> None:
        self._send(json.dumps(value).encode(), status, "application/json")

    def _send(self, raw: bytes, status: int, kind: str) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


@pytest.fixture
def behind() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server on a free port, and what it was asked."""
    seen: list[dict[str, Any]] = []
    handler = type("Handler", (Behind,), {"seen": seen})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", seen
        server.shutdown()
        thread.join()


@pytest.fixture
def emulator(behind: tuple[str, list[dict[str, Any]]]) -> Iterator[Emulator]:
    """An emulator in front of it."""
    with Emulator(clock=ManualClock(), upstream=behind[0], upstream_key="secret") as server:
        yield server


def test_the_answer_is_the_other_servers_in_togethers_shape(
    together: Together, rig: EmulatorClient, behind: tuple[str, list[dict[str, Any]]]
) -> None:
    endpoint, _ = rig.serve()

    answer = together.chat.completions.create(
        model=endpoint["name"], messages=asked(), max_tokens=9, reasoning={"enabled": False}
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


def test_completions_embeddings_and_streams_pass_through(
    together: Together, rig: EmulatorClient
) -> None:
    endpoint, _ = rig.serve()
    name = endpoint["name"]
    embedder, _ = rig.serve(
        "embedder", profile=rig.profile("intfloat/multilingual-e5-large-instruct")
    )

    text = together.completions.create(model=name, prompt="Say").choices[0].text
    chat = list(together.chat.completions.create(model=name, messages=asked(), stream=True))
    pieces = list(together.completions.create(model=name, prompt="Say", stream=True))
    vector = together.embeddings.create(model=embedder["name"], input="x").data[0].embedding

    assert text == "Hello there."
    assert "".join(c.choices[0].delta.content or "" for c in chat if c.choices) == "Hello"
    assert chat[-1].usage is not None
    assert "".join(piece.token.text for piece in pieces) == "Hello"
    assert [piece.finish_reason for piece in pieces][-2:] == ["stop", None]
    assert vector == [0.6, 0.8]


def test_the_lifecycle_and_the_bill_stay_emulated(rig: EmulatorClient) -> None:
    endpoint = rig.endpoint()
    deployment = rig.deploy(endpoint)
    rig.route(endpoint, deployment)
    early = rig.chat(endpoint["name"])
    rig.emulator.clock.advance(600)

    late = rig.chat(endpoint["name"])
    rig.emulator.clock.advance(1)

    told = rig.http.get(f"{rig.p}/endpoints/{endpoint['id']}/analytics").json()["metrics"]
    assert (early.status_code, late.status_code) == (503, 200)
    assert rig.emulator.billing == 1
    assert told["tokenMetrics"]["totalInputTokens"] == "11"
    assert rig.in_flight() == 0


def test_refusals_pass_through_and_nonsense_is_a_bad_gateway(rig: EmulatorClient) -> None:
    endpoint, _ = rig.serve()

    busy = rig.chat(endpoint["name"], seed=429)
    strange = rig.chat(endpoint["name"], seed=500)
    unknown = rig.chat("emulated-project/none")

    assert code(busy) == (429, "busy")
    assert message(busy) == "slot busy"
    assert code(strange) == (502, "bad_gateway")
    assert unknown.status_code == 404
    assert rig.in_flight() == 0


def test_a_server_that_is_not_there_is_a_bad_gateway() -> None:
    headers = {"authorization": "Bearer local"}
    with (
        Emulator(clock=ManualClock(), upstream="http://127.0.0.1:9/v1") as emulator,
        httpx.Client(base_url=emulator.url, headers=headers, verify=TLS, timeout=20) as http,
    ):
        rig = EmulatorClient(emulator, http)
        endpoint, _ = rig.serve()

        refused = rig.chat(endpoint["name"])

    assert code(refused) == (502, "bad_gateway")
    assert "http://127.0.0.1:9/v1" in message(refused)
