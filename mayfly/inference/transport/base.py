"""Transport protocol between the engine and the network: bytes out, status and bytes back.

There are two transports: `http1.py` implements HTTP/1.1 over asyncio protocols and is the default;
`reqwest.py` (pyreqwest) replaces it if a proxy is needed.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol


class Reply(NamedTuple):
    """An HTTP response.

    Attributes:
        header: Returns a header by its lower-case name.
    """

    status: int
    body: bytes
    header: Callable[[str], str | None]


class NotSent(Exception):
    """No connection could be made: the server has not received the request.

    Attributes:
        patience_s: How long to retry if the server was never reached, in seconds; None if the
            problem is likely to be temporary.
    """

    def __init__(self, message: str, *, patience_s: float | None = None) -> None:
        super().__init__(message)
        self.patience_s = patience_s


class NoAnswer(Exception):
    """The request was sent, but no complete response was received.

    Attributes:
        timed_out: Whether the request timed out; otherwise the connection broke.
    """

    def __init__(self, message: str, *, timed_out: bool = False) -> None:
        super().__init__(message)
        self.timed_out = timed_out


Outcome = Reply | NotSent | NoAnswer
Done = Callable[[Outcome], None]
"""Receives the outcome of one request. A callback instead of a coroutine, because a task and a
future per request would cost as much CPU as the request."""


class Call(Protocol):
    """A request in flight."""

    def cancel(self) -> None:
        """Cancel it: its connection is closed, and `done` is not called."""


class Transport(Protocol):
    """Posts bodies to one URL; used on one event loop."""

    def send(self, body: bytes, done: Done) -> Call:
        """Post a body; `done` is called once, later on the loop, unless the call is cancelled."""

    def warm(self, connections: int) -> None:
        """Open connections until there are this many, as far as possible."""

    async def close(self) -> None:
        """Close all connections; no callback is called afterwards."""
