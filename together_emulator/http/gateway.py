"""The ASGI front end: read a request completely, journal it, and apply faults."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import orjson

from together_emulator.http.encoding import decoded
from together_emulator.http.errors import ApiError
from together_emulator.state.faults import FaultRule, Faults
from together_emulator.state.incidents import Incidents
from together_emulator.state.journal import Entry, Journal
from together_emulator.state.store import Store

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

INFERENCE = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/embeddings"})
BODY = "together_emulator.body"
REQUEST_ID = "together_emulator.request_id"
TRANSPORT = "together_emulator.transport"
_BEFORE = ("hang_before", "reset_before", "status")
_INCIDENTS = ("vanish", "lose_replica", "fail_start")
_PAGE = b"<!doctype html><title>One moment</title><p>We will be back shortly."


class Gateway:
    """An ASGI application that wraps another one.

    The admin API is excluded from the journal and from faults.
    """

    def __init__(
        self, app: App, *, store: Store, faults: Faults, journal: Journal, incidents: Incidents
    ) -> None:
        self._app = app
        self._store = store
        self._faults = faults
        self._journal = journal
        self._incidents = incidents
        self._closing = asyncio.Event()

    def close(self) -> None:
        """Reset all hanging connections."""
        self._closing.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            scope[BODY] = body = await _read(receive, self._store.settings.max_body_bytes)
        except _TooLargeError:
            error = ApiError(413, "request body is too large", code="payload_too_large")
            await _answer(send, 413, orjson.dumps(error.body()), close=True)
            return
        except _GoneError:
            return
        path = scope["path"]
        if len(path) > 1 and path.endswith("/"):
            # No redirect: some clients do not follow it with the body.
            path = scope["path"] = path.rstrip("/") or "/"
        try:
            scope[BODY] = body = decoded(scope["headers"], body, self._store.settings)
        except ApiError as error:
            await _answer(send, error.status, orjson.dumps(error.body()), close=True)
            return
        method = scope["method"]
        self._store.settle()
        if path.startswith("/_emulator/"):
            await self._app(scope, receive, send)
            return
        entry = self._journal.open(
            at_s=self._store.now_s,
            method=method,
            path=path,
            query=scope["query_string"].decode("latin-1"),
            body=body,
            inference=path in INFERENCE,
        )
        scope[REQUEST_ID] = entry.request_id
        rule = self._faults.match(method, path, body)
        if rule is None:
            await self._app(scope, receive, _stamping(send, entry, effect=True))
        else:
            entry.fault = rule.action
            await self._faulty(rule, entry, scope, receive, send)

    async def _faulty(
        self, rule: FaultRule, entry: Entry, scope: Scope, receive: Receive, send: Send
    ) -> None:
        noted = _stamping(send, entry, effect=True)
        if rule.action == "delay":
            await asyncio.sleep(rule.delay_s)
            await self._app(scope, receive, noted)
        elif rule.action in _INCIDENTS:
            await self._incident(rule, scope, receive, noted)
        elif rule.action in _BEFORE:
            await self._before(rule, scope, receive, _stamping(send, entry, effect=False))
        else:
            await self._after(rule, entry, scope, receive, _stamping(send, entry, effect=False))

    async def _before(self, rule: FaultRule, scope: Scope, receive: Receive, send: Send) -> None:
        if rule.action == "hang_before":
            await self._hang(scope, receive)
        elif rule.action == "reset_before":
            await _reset(scope, receive)
        else:
            error = ApiError(rule.status, rule.message, code=rule.code, kind="injected_fault")
            body = orjson.dumps(error.body() if rule.json is None else rule.json)
            await _answer(send, rule.status, body, headers=dict(rule.headers))

    async def _incident(self, rule: FaultRule, scope: Scope, receive: Receive, send: Send) -> None:
        if rule.action == "vanish":
            self._incidents.vanish(rule.target)
        elif rule.action == "lose_replica":
            self._incidents.lose_replica(rule.target)
        await self._app(scope, receive, send)
        if rule.action == "fail_start":
            self._incidents.fail_start(rule.target, rule.message)

    async def _after(
        self, rule: FaultRule, entry: Entry, scope: Scope, receive: Receive, send: Send
    ) -> None:
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        await self._app(scope, receive, keep)
        entry.effect = messages[0]["status"]
        body = b"".join(m.get("body", b"") for m in messages[1:])
        if rule.action == "hang_after":
            await self._hang(scope, receive)
            return
        if rule.action == "reset_after":
            await _reset(scope, receive)
            return
        if rule.action == "drip":
            await self._drip(rule, messages[0], body, receive, send)
            return
        if rule.action == "not_json":
            await _answer(send, 200, _PAGE, headers={"content-type": "text/html"})
        elif rule.action == "malformed":
            await _answer(send, 200, body[: max(1, len(body) // 2)].rstrip(b"}"))
        else:
            await send(messages[0])
            await send(
                {"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True}
            )
            scope[TRANSPORT].close()
            await _disconnect(receive)

    async def _drip(
        self, rule: FaultRule, head: Message, body: bytes, receive: Receive, send: Send
    ) -> None:
        """Send the real response in pieces, with a delay before each, until the client is gone."""
        gone = asyncio.ensure_future(_disconnect(receive))
        closing = asyncio.ensure_future(self._closing.wait())
        await send(head)
        pieces = [body[at : at + rule.piece_bytes] for at in range(0, len(body), rule.piece_bytes)]
        for piece in pieces:
            await asyncio.wait(
                (gone, closing), timeout=rule.delay_s, return_when=asyncio.FIRST_COMPLETED
            )
            if gone.done():
                break
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        for waiter in (gone, closing):
            waiter.cancel()
        await send({"type": "http.response.body", "body": b""})

    async def _hang(self, scope: Scope, receive: Receive) -> None:
        gone = asyncio.ensure_future(_disconnect(receive))
        closing = asyncio.ensure_future(self._closing.wait())
        await asyncio.wait((gone, closing), return_when=asyncio.FIRST_COMPLETED)
        closing.cancel()
        if not gone.done():
            gone.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await gone
            await _reset(scope, receive)


class _TooLargeError(Exception):
    pass


class _GoneError(Exception):
    pass


def _stamping(send: Send, entry: Entry, *, effect: bool) -> Send:
    """Return a `send` that adds the request's id to the response and records its status.

    Args:
        effect: Whether the response is from the handler.
    """
    stamp = (b"x-request-id", entry.request_id.encode())

    async def stamped(message: Message) -> None:
        if message["type"] == "http.response.start":
            entry.status = message["status"]
            if effect:
                entry.effect = entry.status
            message["headers"] = [*message["headers"], stamp]
        await send(message)

    return stamped


async def _read(receive: Receive, most: int) -> bytes:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise _GoneError
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        if len(body) > most:
            raise _TooLargeError
        return body
    parts, size = [body], len(body)
    while message.get("more_body"):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _GoneError
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            raise _TooLargeError
    return b"".join(parts)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _reset(scope: Scope, receive: Receive) -> None:
    transport = scope[TRANSPORT]
    connection = transport.get_extra_info("socket")
    if connection is not None:
        # With SO_LINGER 0 the kernel sends RST instead of FIN.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
    await _disconnect(receive)


async def _answer(
    send: Send,
    status: int,
    body: bytes,
    *,
    headers: dict[str, str] | None = None,
    close: bool = False,
) -> None:
    named = {"content-type": "application/json", "content-length": str(len(body))}
    named |= {name.lower(): value for name, value in (headers or {}).items()}
    if close:
        named["connection"] = "close"
    raw = [(name.encode(), value.encode()) for name, value in named.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
