"""HTTP/1.1 over asyncio protocols: a seventh of aiohttp's CPU per request, and no hidden limit.

A connection has one request at a time and returns to the pool when the response is complete.
Responses are parsed by httptools (the C parser of uvicorn). The dispatcher times requests out.
HTTP/2 is not supported: its limit of streams per connection would cap the requests in flight.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import Iterator, Mapping
from email.utils import formatdate
from typing import Any
from urllib.parse import urlsplit

import certifi
import httptools

from mayfly.inference.transport.base import Done, NoAnswer, NotSent, Outcome, Reply

CONNECT_TIMEOUT_S = 10.0

REFUSED_PATIENCE_S = 10.0
"""How long to retry a host that has refused all connections so far: it may be restarting."""

SWEEP_EVERY_S = 5.0
"""Interval at which idle connections are checked."""

IDLE_S = 50.0
"""An idle connection is closed after this time: many servers and NATs drop it silently at 60."""

COPIED_BYTES = 64 * 2**10
"""Shorter bodies are copied and sent in one piece with their head; longer ones are not copied."""

KEEPALIVE_S = 60
"""TCP sends keep-alive probes after this time of silence, and then every 15 seconds: a response may
take minutes, and a NAT forgets an idle connection."""


class Http1Transport:
    """Posts bodies to one URL, over one connection per request in flight."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        parts = urlsplit(url)
        self._loop = asyncio.get_running_loop()
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = trusted() if parts.scheme == "https" else None
        self._idle: list[_Connection] = []
        self._open: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self.head = _head(parts.netloc.rpartition("@")[2], _target(parts), headers)
        self._close_idle()

    def send(self, body: bytes, done: Done) -> "_Connection | _Connecting":
        while self._idle:
            connection = self._idle.pop()
            if connection.send(body, done):
                return connection
        return _Connecting(self, body, done)

    def warm(self, connections: int) -> None:
        for _ in range(connections - len(self._open) - len(self._tasks)):
            self.start(self._open_one())

    async def close(self) -> None:
        self._closed = True
        self._timer.cancel()
        for connection in [*self._open]:
            connection.cancel()
        for task in [*self._tasks]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # The loop closes sockets in a later iteration.
        await asyncio.sleep(0)

    # For connections.

    def start(self, coroutine: Any) -> asyncio.Task[None]:
        """Start a task that opens a connection, and keep a reference to it."""
        task: asyncio.Task[None] = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def connect(self) -> "_Connection":
        """Open a connection.

        Raises:
            NotSent: There is no connection.
        """
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                _, connection = await self._loop.create_connection(
                    lambda: _Connection(self), self._host, self._port, ssl=self._tls
                )
        except TimeoutError:
            raise NotSent(
                f"no connection to {self._host}:{self._port} within {CONNECT_TIMEOUT_S:.0f} s"
            ) from None
        except OSError as error:
            raise _not_sent(error, self._host, self._port) from error
        return connection

    def opened(self, connection: "_Connection") -> None:
        """Add a connection that is open."""
        self._open.add(connection)

    def free(self, connection: "_Connection") -> None:
        """Return a connection to the pool after a complete response."""
        self._idle.append(connection)

    def lost(self, connection: "_Connection") -> None:
        """Forget a connection that is closed."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    async def _open_one(self) -> None:
        try:
            self.free(await self.connect())
        except NotSent:
            return  # The next request will report it.

    def _close_idle(self) -> None:
        now = self._loop.time()
        for connection in [*self._idle]:
            connection.close_if_idle(now)
        self._timer = self._loop.call_later(SWEEP_EVERY_S, self._close_idle)


class _Connecting:
    """A request that waits for its connection."""

    __slots__ = ("_connection", "_task")

    def __init__(self, transport: Http1Transport, body: bytes, done: Done) -> None:
        self._connection: _Connection | None = None
        self._task = transport.start(self._send(transport, body, done))

    def cancel(self) -> None:
        if self._connection is not None:
            self._connection.cancel()
        else:
            self._task.cancel()

    async def _send(self, transport: Http1Transport, body: bytes, done: Done) -> None:
        try:
            self._connection = await transport.connect()
        except NotSent as error:
            done(error)
            return
        if not self._connection.send(body, done):
            done(NotSent("the connection was closed at once"))


class _Connection(asyncio.Protocol):
    """One connection: idle, or with one request under way."""

    __slots__ = (
        "_answer",
        "_body",
        "_done",
        "_head",
        "_lasts",
        "_loop",
        "_owner",
        "_parser",
        "_since",
        "_transport",
        "_whole",
    )

    def __init__(self, owner: Http1Transport) -> None:
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._transport: Any = None
        self._parser = httptools.HttpResponseParser(self)
        # What is framed carelessly was paid for. A connection has one request at a time, so there
        # is no other response to mistake it for.
        self._parser.set_dangerous_leniencies(
            lenient_chunked_length=True, lenient_optional_cr_before_lf=True
        )
        self._done: Done | None = None
        # What has come before the body, as received: a header is hardly ever asked for, and a
        # callback per header would take longer than all else that is done for a response.
        self._head: list[bytes] = []
        self._body: list[bytes] = []
        self._answer: tuple[int, list[bytes], list[bytes]]
        self._whole = self._lasts = False
        self._since = self._loop.time()

    def send(self, body: bytes, done: Done) -> bool:
        """Send a request; return False if the connection is closed."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        self._done = done
        self._since = self._loop.time()
        head = b"%b%d\r\n\r\n" % (self._owner.head, len(body))
        if len(body) < COPIED_BYTES:
            transport.write(head + body)
        else:
            transport.writelines((head, body))
        return True

    def cancel(self) -> None:
        """Cancel the request; the server sees the connection close."""
        self._done = None
        if self._transport is not None:
            self._transport.abort()

    def close_if_idle(self, now: float) -> None:
        """Close the connection if it has been idle for too long."""
        if self._done is None and now - self._since > IDLE_S:
            self.cancel()

    # For the loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        if (sock := transport.get_extra_info("socket")) is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if hasattr(socket, "TCP_KEEPIDLE"):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_S)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_S // 4)
        self._owner.opened(self)

    def data_received(self, data: bytes) -> None:
        if self._done is None:  # Data without a request: the server is closing the connection.
            self.cancel()
            return
        if not self._body:
            self._head.append(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self._whole:
                self._end(NoAnswer(f"not HTTP: {_reason(error)}"))
                return
            self._lasts = False
        if self._whole:
            self._finish()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._owner.lost(self)
        if self._done is None:
            return
        if exc is None and self._ends_with_the_connection():
            self._finish()
        else:
            self._end(NoAnswer(f"the connection broke{f': {_reason(exc)}' if exc else ''}"))

    # For the parser.

    def on_message_begin(self) -> None:
        if self._whole:  # Data beyond the response.
            self._lasts = False

    def on_body(self, data: bytes) -> None:
        self._body.append(data)

    def on_message_complete(self) -> None:
        if self._whole:  # A second response to one request.
            return
        status = self._parser.get_status_code()
        if status >= 200:  # Not "100 Continue" and the like.
            # Later the parser would report the next message, and append to its body.
            self._whole, self._lasts = True, self._parser.should_keep_alive()
            self._answer = status, self._head, self._body
            self._head = []
        self._body = []

    def _ends_with_the_connection(self) -> bool:
        """Whether the response is delimited by the close of the connection, so it is complete."""
        framing = {b"content-length", b"transfer-encoding"}
        return bool(self._body) and framing.isdisjoint(name for name, _ in _fields(self._head))

    def _finish(self) -> None:
        if not self._whole:  # Delimited by the close of the connection.
            self._answer = self._parser.get_status_code(), self._head, self._body
        done, (status, head, body) = self._done, self._answer
        self._done, self._whole = None, False
        reply = Reply(
            status, body[0] if len(body) == 1 else b"".join(body), lambda name: _find(head, name)
        )
        if self._transport is None:
            pass
        elif self._lasts and not self._transport.get_write_buffer_size():
            self._since = self._loop.time()
            self._owner.free(self)
        else:
            self._transport.abort()
        if done is not None:
            done(reply)

    def _end(self, outcome: Outcome) -> None:
        done = self._done
        self.cancel()
        if done is not None:
            done(outcome)


def _not_sent(error: OSError, host: str, port: int) -> NotSent:
    """Return the error for a failed connection, with the host and how long to retry."""
    at = f"{host}:{port}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return NotSent(
            f"the certificate of {at} is not trusted ({error.verify_message}); name your "
            "authority's file in SSL_CERT_FILE",
            patience_s=0.0,
        )
    if isinstance(error, ssl.SSLError):
        return NotSent(f"no TLS with {at}: {_reason(error)}", patience_s=0.0)
    if isinstance(error, socket.gaierror):
        unknown = error.errno != socket.EAI_AGAIN
        return NotSent(
            f"host {host} is unknown: {_reason(error)}", patience_s=0.0 if unknown else None
        )
    # uvloop combines the errors of several addresses in one message.
    refused = isinstance(error, ConnectionRefusedError) or f"[Errno {errno.ECONNREFUSED}]" in str(
        error
    )
    return NotSent(
        f"{at} refused the connection" if refused else f"no connection to {at}: {_reason(error)}",
        patience_s=REFUSED_PATIENCE_S if refused else None,
    )


def trusted() -> ssl.SSLContext:
    """Return a TLS context that trusts the system's authorities, SSL_CERT_FILE and certifi.

    The SDK trusts certifi: without it an endpoint could be created but not reached.
    """
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def _target(parts: Any) -> str:
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _head(host: str, target: str, headers: Mapping[str, str]) -> bytes:
    """Return a request's head, up to the value of `content-length`."""
    lines = {
        "host": host,
        "user-agent": "mayfly",
        "accept": "application/json",
        "content-type": "application/json",
        **{name.lower(): value for name, value in headers.items()},
    }
    if any(c in text for pair in lines.items() for text in pair for c in "\r\n"):
        raise ValueError("a header holds a line break")
    text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {target} HTTP/1.1\r\n{text}content-length: ".encode()


def _fields(received: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield a response's headers, their names in lower case, from what the server sent."""
    rest = b"".join(received).replace(b"\r\n", b"\n").lstrip(b"\n")
    head, _, rest = rest.partition(b"\n\n")
    while head.partition(b" ")[2].startswith(b"1"):  # "100 Continue" and the like.
        head, _, rest = rest.partition(b"\n\n")
    for line in head.split(b"\n")[1:]:
        name, _, value = line.partition(b":")
        yield name.strip().lower(), value.strip()


def _find(received: list[bytes], wanted: str) -> str | None:
    name = wanted.encode()
    found = next(
        (value.decode("latin-1") for field, value in _fields(received) if field == name), None
    )
    if found is None and wanted == "date":  # RFC 9110, 6.6.1: then it is when it was received.
        return formatdate(usegmt=True)
    return found


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
