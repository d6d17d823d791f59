"""HTTP of other clients: HEAD, trailing slashes, compressed bodies, /v1/models."""

import gzip
import json
from typing import Any

import httpx
import pytest

from tests.support.emulator_client import SMALL, EmulatorClient, code


@pytest.mark.parametrize(
    "path", ["/v1/models", "/v2/supported-models", "/v1/hardware", "/v3/whoami"]
)
def test_head_is_get_without_a_body(rig: EmulatorClient, path: str) -> None:
    head, got = rig.http.head(path), rig.http.get(path)

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == got.headers["content-length"]


def test_head_without_a_key_is_refused(rig: EmulatorClient) -> None:
    assert httpx.head(f"{rig.emulator.url}/v1/models").status_code == 401


@pytest.mark.parametrize("slashes", ["/", "//"])
def test_trailing_slash_is_the_same_path(rig: EmulatorClient, slashes: str) -> None:
    endpoint, _ = rig.serve()
    body = {"model": endpoint["name"], "messages": [{"role": "user", "content": "Hi"}]}

    chat_response = rig.http.post(f"/v1/chat/completions{slashes}", json=body)
    listed = rig.http.get(f"{rig.p}/endpoints{slashes}")

    assert (chat_response.status_code, listed.status_code) == (200, 200)
    assert listed.json()["data"][0]["id"] == endpoint["id"]


def compressed(rig: EmulatorClient, raw: bytes, encoding: str = "gzip") -> httpx.Response:
    """Request a chat completion with a body that is sent unchanged."""
    headers = {"content-encoding": encoding, "content-type": "application/json"}
    return rig.http.post("/v1/chat/completions", content=raw, headers=headers)


def body_of(endpoint: dict[str, Any], prompt: str = "Hi") -> bytes:
    """Return the body of a chat completion."""
    messages = [{"role": "user", "content": prompt}]
    return json.dumps({"model": endpoint["name"], "messages": messages}).encode()


def test_gzip_body_is_read(rig: EmulatorClient) -> None:
    endpoint, _ = rig.serve()
    raw = body_of(endpoint)

    packed = compressed(rig, gzip.compress(raw))
    plain = compressed(rig, raw, "identity")

    assert packed.status_code == 200
    assert packed.json()["choices"] == plain.json()["choices"]


def test_gzip_body_is_journalled_plain(rig: EmulatorClient) -> None:
    endpoint, _ = rig.serve()
    rule = {"action": "status", "status": 503, "body": "needle", "path": "/chat/"}
    rig.http.post("/_emulator/faults", json=[rule])

    assert compressed(rig, gzip.compress(body_of(endpoint, "a needle"))).status_code == 503


def test_gzip_body_that_is_broken_is_refused(rig: EmulatorClient) -> None:
    endpoint, _ = rig.serve()
    packed = gzip.compress(body_of(endpoint))

    assert code(compressed(rig, b"no gzip")) == (400, "invalid_encoding")
    assert code(compressed(rig, packed[:-9])) == (400, "invalid_encoding")


def test_gzip_body_is_bounded_by_its_size_unpacked(rig: EmulatorClient) -> None:
    rig.emulator.change(max_body_bytes=100_000)

    assert code(compressed(rig, gzip.compress(b" " * 200_000))) == (413, "payload_too_large")


def test_body_in_another_encoding_is_refused(rig: EmulatorClient) -> None:
    assert code(compressed(rig, b"x", "br")) == (415, "unsupported_encoding")


def test_models_of_v1_are_a_bare_list(rig: EmulatorClient) -> None:
    everything = rig.http.get("/v1/models").json()
    dedicated = rig.http.get("/v1/models", params={"dedicated": "true"}).json()

    assert isinstance(everything, list)
    found = next(model for model in everything if model["id"] == SMALL)
    assert (found["object"], found["type"], found["context_length"]) == ("model", "chat", 32_768)
    assert len(dedicated) == len(everything) - 1


def test_answer_names_the_deployment_and_the_replica(rig: EmulatorClient) -> None:
    endpoint, deployment = rig.serve()

    headers = rig.chat(endpoint["name"]).headers

    assert headers["x-cluster"] == deployment["id"]
    assert json.loads(headers["x-i-router-log-event"])["worker_url"].startswith("http")
