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
def test_head_is_get_without_a_body(api: EmulatorClient, path: str) -> None:
    head, got = api.http.head(path), api.http.get(path)

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == got.headers["content-length"]


def test_head_without_a_key_is_refused(api: EmulatorClient) -> None:
    assert httpx.head(f"{api.emulator.url}/v1/models").status_code == 401


@pytest.mark.parametrize("slashes", ["/", "//"])
def test_trailing_slash_is_the_same_path(api: EmulatorClient, slashes: str) -> None:
    endpoint, _ = api.serve()
    body = {"model": endpoint["name"], "messages": [{"role": "user", "content": "Hi"}]}

    chat_response = api.http.post(f"/v1/chat/completions{slashes}", json=body)
    listed = api.http.get(f"{api.p}/endpoints{slashes}")

    assert (chat_response.status_code, listed.status_code) == (200, 200)
    assert listed.json()["data"][0]["id"] == endpoint["id"]


def compressed(api: EmulatorClient, raw: bytes, encoding: str = "gzip") -> httpx.Response:
    """Request a chat completion with a body that is sent unchanged."""
    headers = {"content-encoding": encoding, "content-type": "application/json"}
    return api.http.post("/v1/chat/completions", content=raw, headers=headers)


def body_of(endpoint: dict[str, Any], prompt: str = "Hi") -> bytes:
    """Return the body of a chat completion."""
    messages = [{"role": "user", "content": prompt}]
    return json.dumps({"model": endpoint["name"], "messages": messages}).encode()


def test_gzip_body_is_read(api: EmulatorClient) -> None:
    endpoint, _ = api.serve()
    raw = body_of(endpoint)

    packed = compressed(api, gzip.compress(raw))
    plain = compressed(api, raw, "identity")

    assert packed.status_code == 200
    assert packed.json()["choices"] == plain.json()["choices"]


def test_gzip_body_is_journalled_plain(api: EmulatorClient) -> None:
    endpoint, _ = api.serve()
    rule = {"action": "status", "status": 503, "body": "needle", "path": "/chat/"}
    api.http.post("/_emulator/faults", json=[rule])

    assert compressed(api, gzip.compress(body_of(endpoint, "a needle"))).status_code == 503


def test_gzip_body_that_is_broken_is_refused(api: EmulatorClient) -> None:
    endpoint, _ = api.serve()
    packed = gzip.compress(body_of(endpoint))

    assert code(compressed(api, b"no gzip")) == (400, "invalid_encoding")
    assert code(compressed(api, packed[:-9])) == (400, "invalid_encoding")


def test_gzip_body_is_bounded_by_its_size_unpacked(api: EmulatorClient) -> None:
    api.emulator.change(max_body_bytes=100_000)

    assert code(compressed(api, gzip.compress(b" " * 200_000))) == (413, "payload_too_large")


def test_body_in_another_encoding_is_refused(api: EmulatorClient) -> None:
    assert code(compressed(api, b"x", "br")) == (415, "unsupported_encoding")


def test_models_of_v1_are_a_bare_list(api: EmulatorClient) -> None:
    everything = api.http.get("/v1/models").json()
    dedicated = api.http.get("/v1/models", params={"dedicated": "true"}).json()

    assert isinstance(everything, list)
    found = next(model for model in everything if model["id"] == SMALL)
    assert (found["object"], found["type"], found["context_length"]) == ("model", "chat", 32_768)
    assert len(dedicated) == len(everything) - 1


def test_answer_names_the_deployment_and_the_replica(api: EmulatorClient) -> None:
    endpoint, deployment = api.serve()

    headers = api.chat(endpoint["name"]).headers

    assert headers["x-cluster"] == deployment["id"]
    assert json.loads(headers["x-i-router-log-event"])["worker_url"].startswith("http")
