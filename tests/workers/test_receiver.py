"""The thread that reads what workers send: what waits for it goes on, whatever happens to it."""

import threading
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

from mayfly.models.errors import MayflyError
from mayfly.workers.handle import WorkerHandle
from mayfly.workers.receiver import Receiver
from mayfly.workers.totals import Totals

PATIENCE_S = 20.0


class Carried:
    """A carrier that is only a connection."""

    def __init__(self, connection: "Connection[Any, Any]") -> None:
        self.connection = connection


class ClosesAndFails:
    """Closes a receiver, then cannot be unpickled."""

    receiver: Receiver
    closed = threading.Event()

    def __reduce__(self) -> tuple[Any, ...]:
        return _close_and_fail, ()


def _close_and_fail() -> None:
    ClosesAndFails.receiver.close(ClosesAndFails.closed.set)
    raise ZeroDivisionError("odd message")


def test_receiver_that_fails_while_it_is_closed_releases_who_closed_it() -> None:
    failed: list[MayflyError] = []
    ended = threading.Event()

    def note(error: MayflyError) -> None:
        failed.append(error)
        ended.set()

    near, far = Pipe()
    with near, far:
        carrier: Any = Carried(near)
        worker = WorkerHandle(1, carrier, lambda _worker: None)
        receiver = ClosesAndFails.receiver = Receiver(
            Totals(),
            arrived=lambda _worker, _messages: None,
            lost=lambda _worker: None,
            unwritable=lambda _task, _error: None,
            failed=note,
        )
        receiver.open()
        receiver.read(worker)
        far.send(ClosesAndFails())

        assert ClosesAndFails.closed.wait(PATIENCE_S)
        assert ended.wait(PATIENCE_S)
    assert "odd message" in str(failed[0])
