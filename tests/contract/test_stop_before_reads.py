"""The stop is sent by known ids before any read, and every call ends."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from mayfly.models.endpoint import Api, EndpointRef
from mayfly.models.errors import OutcomeUnknown, RetryableError, TeardownFailed
from mayfly.together.factory import connect
from tests.support.control_plane import EmulatedService, connection
from together_emulator import FaultRule

READS = FaultRule(action="status", method="GET", status=503, message="no reads today")


def test_stop_is_sent_at_once_when_every_read_fails(service: EmulatedService) -> None:
    ref = service.serve()
    service.emulator.use_faults(READS)

    with pytest.raises(TeardownFailed, match="the API has accepted the stop"):
        service.tear_down(ref, budget_s=120)

    service.emulator.clock.advance(600)
    assert service.emulator.billing == 0
    calls = [
        call
        for call in service.emulator.calls()
        if call.fault is not None or call.method == "PATCH"
    ]
    assert calls[-1].method == "GET"
    first_read = next(i for i, call in enumerate(calls) if call.fault is not None)
    patches = [i for i, call in enumerate(calls) if call.method == "PATCH"]
    assert patches[-1] < first_read


def test_teardown_sends_stop_before_any_read(service: EmulatedService) -> None:
    ref = service.serve()
    before = len(service.emulator.calls())

    service.tear_down(ref)

    assert service.emulator.calls()[before].method == "PATCH"
    assert service.made() == 0


def test_stop_with_transient_refusal_is_sent_again(service: EmulatedService) -> None:
    ref = service.serve()
    service.emulator.use_faults(
        FaultRule(action="status", method="PATCH", status=503, nth=(1, 2)), READS
    )

    with pytest.raises(TeardownFailed):
        service.tear_down(ref, budget_s=120)

    service.emulator.clock.advance(600)
    assert service.emulator.billing == 0


def test_create_reports_each_id_before_the_next_call(service: EmulatedService) -> None:
    known: list[tuple[EndpointRef, int]] = []

    ref = service.plane.create(
        service.spec(), on_known=lambda ref: known.append((ref, len(service.emulator.calls())))
    )

    assert known[-1][0].endpoint_id == ref.endpoint_id
    assert known[-1][0].deployment_ids == ref.deployment_ids
    posts = [at for at, call in enumerate(service.emulator.calls(), 1) if call.method == "POST"]
    assert [at for _, at in known] == posts


@contextmanager
def trickle(every_s: float) -> Iterator[str]:
    """Serve on loopback an answer that never ends: a byte every so often."""
    over = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(near: socket.socket) -> None:
        with near, suppress(OSError):
            near.recv(65536)
            near.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
            while not over.wait(every_s):
                near.sendall(b"x")

    def accept() -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                threading.Thread(target=serve, args=(near,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        over.set()
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def test_response_that_trickles_ends_at_the_total_timeout(api: Api) -> None:
    with trickle(0.2) as url, connect(api, connection(url, project="p", timeout_s=1.0)) as plane:
        ref = EndpointRef(
            api=api, name="a-users-own", endpoint_id="ep_1", deployment_ids=("dep_1",)
        )
        began = time.monotonic()
        for call in (plane.observe, plane.stop_known, plane.delete):
            with pytest.raises(OutcomeUnknown, match="in time"):
                call(ref)
        with pytest.raises(RetryableError):
            plane.all_hardware()

        assert time.monotonic() - began < 20
