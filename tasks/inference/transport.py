"""The seam between the engine and the network: bytes out, status and bytes back.

pyreqwest (Rust's reqwest, rustls) is behind it: a third of the CPU per request of aiohttp and a
thirtieth of the SDK's, and no cap on connections that nobody asked for.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import NamedTuple, Protocol

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import (
    ConnectError,
    ConnectTimeoutError,
    DetailedPyreqwestError,
    PoolTimeoutError,
)


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
    """No connection could be made: the server has seen nothing of the request."""


class NoAnswer(Exception):
    """The request was sent, and no whole answer came back."""


class Transport(Protocol):
    """Posts bodies to one URL; used on one event loop."""

    async def post(self, body: bytes) -> Reply:
        """Send a body and read the whole answer.

        Raises:
            NotSent: No connection.
            NoAnswer: Sent, and no whole answer came in time.
        """

    async def close(self) -> None:
        """Close all connections."""


class RustTransport:
    """The transport over pyreqwest."""

    def __init__(self, url: str, headers: Mapping[str, str], *, timeout_s: float) -> None:
        self._url = url
        self._client: Client = (
            ClientBuilder()
            .default_headers({"content-type": "application/json", **headers})
            .user_agent("mayfly")
            .timeout(timedelta(seconds=timeout_s))
            .connect_timeout(timedelta(seconds=min(10.0, timeout_s)))
            .pool_max_idle_per_host(100_000)
            .follow_redirects(enable=False)
            .referer(enable=False)
            .build()
        )

    async def post(self, body: bytes) -> Reply:
        try:
            response = await self._client.post(self._url).body_bytes(body).build().send()
            return Reply(response.status, memoryview(await response.bytes()), response.get_header)
        except (ConnectError, ConnectTimeoutError, PoolTimeoutError) as error:
            raise NotSent(_words(error)) from error
        except DetailedPyreqwestError as error:
            raise NoAnswer(_words(error)) from error

    async def close(self) -> None:
        await self._client.close()


def _words(error: DetailedPyreqwestError) -> str:
    """Return the innermost cause, in one line: what a person can do something about."""
    causes = error.details.get("causes")
    return f"{type(error).__name__}: {causes[-1]['message'] if causes else error.message}"
