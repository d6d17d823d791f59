"""The transport over pyreqwest (Rust's reqwest, rustls), which supports HTTP proxies."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import (
    ConnectError,
    ConnectTimeoutError,
    DetailedPyreqwestError,
    PoolTimeoutError,
    RequestTimeoutError,
)
from pyreqwest.proxy import ProxyBuilder

from mayfly.inference.transport.base import Done, NoAnswer, NotSent, Outcome, Reply
from mayfly.proxies import without_password

CONNECT_TIMEOUT = timedelta(seconds=10)

PROXY_REFUSED = 407

_LASTING = (
    ("proxy auth", "its user or password is wrong (HTTP 407)"),
    ("failed to lookup address", "the proxy's host is unknown"),
    ("certificate", "the certificate is not trusted; name your authority's file in SSL_CERT_FILE"),
    ("connection refused", "the proxy refused the connection"),
)
"""Errors that waiting does not fix, by the message of the innermost cause."""


class RustTransport:
    """Posts over pyreqwest; HTTP/1.1, because HTTP/2 limits the streams of a connection."""

    def __init__(
        self, url: str, headers: Mapping[str, str], *, proxy: str, ca_file: str = ""
    ) -> None:
        """Create the client.

        Args:
            proxy: URL of an HTTP proxy, which may have a user and a password.
            ca_file: Certificates to trust as well (PEM), or "".
        """
        self._url, self._proxy = url, without_password(proxy)
        builder = (
            ClientBuilder()
            .default_headers({"content-type": "application/json", **headers})
            .user_agent("mayfly")
            .no_proxy()
            .proxy(ProxyBuilder.all(proxy))
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(100_000)
            .http1_only()
            .follow_redirects(enable=False)
            .referer(enable=False)
        )
        if ca_file:
            builder = builder.add_root_certificate_pem(Path(ca_file).read_bytes())
        self._client: Client = builder.build()
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, body: bytes, done: Done) -> "_Call":
        task = asyncio.get_running_loop().create_task(self._send(body, done))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return _Call(task)

    def warm(self, connections: int) -> None:
        """Do nothing: this client opens a connection when it sends a request."""

    async def close(self) -> None:
        for task in [*self._tasks]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.close()

    async def _send(self, body: bytes, done: Done) -> None:
        done(await self._post(body))

    async def _post(self, body: bytes) -> Outcome:
        try:
            response = await self._client.post(self._url).body_bytes(body).build().send()
            if response.status == PROXY_REFUSED:
                return self._not_sent("proxy authorization required")
            return Reply(response.status, bytes(await response.bytes()), response.get_header)
        except (ConnectError, ConnectTimeoutError, PoolTimeoutError) as error:
            return self._not_sent(_reason(error))
        except DetailedPyreqwestError as error:
            return NoAnswer(_reason(error), timed_out=isinstance(error, RequestTimeoutError))

    def _not_sent(self, message: str) -> NotSent:
        """Return the error with the proxy, and whether retrying is useful."""
        for sign, meaning in _LASTING:
            if sign in message.lower():
                return NotSent(f"proxy {self._proxy}: {meaning} ({message})", patience_s=0.0)
        return NotSent(f"proxy {self._proxy}: {message}")


class _Call:
    """A request in flight, in its own task."""

    def __init__(self, task: asyncio.Task[None]) -> None:
        self._task = task

    def cancel(self) -> None:
        self._task.cancel()


def _reason(error: DetailedPyreqwestError) -> str:
    """Return the innermost cause in one line, which is the one that a user can act on."""
    causes = error.details.get("causes")
    return f"{type(error).__name__}: {causes[-1]['message'] if causes else error.message}"
