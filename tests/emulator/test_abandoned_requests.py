"""A request whose client disconnects ends, and its slot is free."""

import json
import socket
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.emulator.conftest import TLS
from tests.support.emulator_client import EmulatorClient
from tests.support.wait import wait_until
from together_emulator import Emulator, ManualClock


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """A server whose answers wait for the clock, with one slot on a replica."""
    with Emulator(clock=ManualClock(holds_answers=True), slots=1) as server:
        yield server


def settled(done: Callable[[], bool]) -> None:
    """Wait until the server has noticed."""
    wait_until(done, "the server notices", every_s=0.005)


def send(api: EmulatorClient, model: str, **body: object) -> socket.socket:
    """Send a request and leave its answer unread."""
    messages = [{"role": "user", "content": "Hi"}]
    raw = json.dumps({"model": model, "messages": messages} | body).encode()
    host, port = api.emulator.url.removeprefix("http://").split(":")
    client = socket.create_connection((host, int(port)))
    client.sendall(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer local\r\n"
        + f"content-length: {len(raw)}\r\n\r\n".encode()
        + raw
    )
    return client


@pytest.mark.parametrize("stream", [False, True])
def test_abandoned_request_in_work_frees_its_slot(api: EmulatorClient, *, stream: bool) -> None:
    endpoint, _ = api.serve()

    client = send(api, endpoint["name"], stream=stream)
    settled(lambda: api.in_flight() == 1)
    client.close()

    settled(lambda: api.in_flight() == 0)


def test_abandoned_request_in_queue_is_skipped(api: EmulatorClient) -> None:
    endpoint, deployment = api.serve()
    name = endpoint["name"]
    waiting = api.emulator._store.deployments[deployment["id"]].waiting
    first = send(api, name)
    settled(lambda: api.in_flight() == 1)
    second = send(api, name)
    settled(lambda: len(waiting) == 1)
    third = send(api, name)
    settled(lambda: len(waiting) == 2)

    second.close()
    settled(waiting[0].done)
    first.close()
    settled(lambda: len(waiting) == 0)

    assert api.in_flight() == 1
    third.close()
    settled(lambda: api.in_flight() == 0)


def test_abandoned_request_is_finished_where_configured(api: EmulatorClient) -> None:
    api.emulator.change(drops_abandoned=False)
    endpoint, _ = api.serve()

    client = send(api, endpoint["name"])
    settled(lambda: api.in_flight() == 1)
    client.close()
    answered = httpx.get(f"{api.emulator.url}/_emulator/ledger", verify=TLS)

    assert answered.status_code == 200
    assert api.in_flight() == 1
