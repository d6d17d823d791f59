"""Transport protocol between the engine and the network: bytes out, status and bytes back.

Two transports are behind it. `http1.py` speaks HTTP/1.1 over asyncio protocols and is what a run
uses; `reqwest.py` (pyreqwest) replaces it where a proxy is needed.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol


class Reply(NamedTuple):
    """An HTTP answer.

    Attributes:
        body: A bytes-like object.
        header: Looks a header up by its lower-case name.
    """

    status: int
    body: memoryview
    header: Callable[[str], str | None]


class NotSent(Exception):
    """No connection could be made: the server has seen nothing of the request.

    Attributes:
        patience_s: How long it is worth to wait for this to pass, in seconds, where nothing was
            ever reached; None where it may well pass.
    """

    def __init__(self, message: str, *, patience_s: float | None = None) -> None:
        super().__init__(message)
        self.patience_s = patience_s


class NoAnswer(Exception):
    """The request was sent, and no whole answer came back.

    Attributes:
        timed_out: The time for an answer was over; else the connection broke.
    """

    def __init__(self, message: str, *, timed_out: bool = False) -> None:
        super().__init__(message)
        self.timed_out = timed_out


Outcome = Reply | NotSent | NoAnswer
Done = Callable[[Outcome], None]
"""Takes the outcome of one request. A callback and not a coroutine: a task and a future per
request would cost as much as the request."""


class Call(Protocol):
    """A request under way."""

    def cancel(self) -> None:
        """Give it up: its connection is closed, and nothing is called any more."""


class Transport(Protocol):
    """Posts bodies to one URL; used on one event loop."""

    def send(self, body: bytes, done: Done) -> Call:
        """Post a body; `done` is called later on the loop, once, unless the call is cancelled."""

    def warm(self, connections: int) -> None:
        """See to it that as many connections are open and idle, as far as they can be had."""

    async def close(self) -> None:
        """Close all connections; nothing is called any more."""
