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


def send(rig: EmulatorClient, model: str, **body: object) -> socket.socket:
    """Send a request and leave its answer unread."""
    messages = [{"role": "user", "content": "Hi"}]
    raw = json.dumps({"model": model, "messages": messages} | body).encode()
    host, port = rig.emulator.url.removeprefix("http://").split(":")
    client = socket.create_connection((host, int(port)))
    client.sendall(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer local\r\n"
        + f"content-length: {len(raw)}\r\n\r\n".encode()
        + raw
    )
    return client


@pytest.mark.parametrize("stream", [False, True])
def test_abandoned_request_in_work_frees_its_slot(rig: EmulatorClient, *, stream: bool) -> None:
    endpoint, _ = rig.serve()

    client = send(rig, endpoint["name"], stream=stream)
    settled(lambda: rig.in_flight() == 1)
    client.close()

    settled(lambda: rig.in_flight() == 0)


def test_abandoned_request_in_queue_is_skipped(rig: EmulatorClient) -> None:
    endpoint, deployment = rig.serve()
    name = endpoint["name"]
    waiting = rig.emulator._store.deployments[deployment["id"]].waiting
    first = send(rig, name)
    settled(lambda: rig.in_flight() == 1)
    second = send(rig, name)
    settled(lambda: len(waiting) == 1)
    third = send(rig, name)
    settled(lambda: len(waiting) == 2)

    second.close()
    settled(waiting[0].done)
    first.close()
    settled(lambda: len(waiting) == 0)

    assert rig.in_flight() == 1
    third.close()
    settled(lambda: rig.in_flight() == 0)


def test_abandoned_request_is_finished_where_configured(rig: EmulatorClient) -> None:
    rig.emulator.change(drops_abandoned=False)
    endpoint, _ = rig.serve()

    client = send(rig, endpoint["name"])
    settled(lambda: rig.in_flight() == 1)
    client.close()
    answered = httpx.get(f"{rig.emulator.url}/_emulator/ledger", verify=TLS)

    assert answered.status_code == 200
    assert rig.in_flight() == 1
