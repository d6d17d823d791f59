"""The HTTP/1.1 transport: one request has one response; connections are reused where possible."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
import uvloop

from mayfly.inference.transport.base import NoAnswer, NotSent, Outcome, Reply
from mayfly.inference.transport.http1 import Http1Transport
from tests.support.scripted_server import Request, ScriptedServer, http

Work = Callable[[Http1Transport], Coroutine[Any, Any, Any]]


def use(url: str, work: Work) -> Any:
    async def run() -> Any:
        transport = Http1Transport(url, {"Authorization": "Bearer k"})
        try:
            return await work(transport)
        finally:
            await transport.close()

    return uvloop.run(run())


def posted(transport: Http1Transport, body: bytes = b"{}") -> asyncio.Future[Outcome]:
    outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    transport.send(body, outcome.set_result)
    return outcome


def one_after_another(bodies: Sequence[bytes]) -> Work:
    async def work(transport: Http1Transport) -> list[Outcome]:
        return [await posted(transport, body) for body in bodies]

    return work


def answer(text: bytes) -> Callable[[Request], Coroutine[Any, Any, bytes | None]]:
    async def script(request: Request) -> bytes | None:
        return text

    return script


def test_request_has_body_headers_and_key() -> None:
    with ScriptedServer() as server:
        use(server.url, one_after_another([b'{"a": 1}']))

    (request,) = server.requests
    assert request.body == b'{"a": 1}'
    assert request.head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:")
    assert b"\r\nauthorization: Bearer k\r\n" in request.head


def test_sequential_requests_share_a_connection() -> None:
    with ScriptedServer() as server:
        replies = use(server.url, one_after_another([b"{}"] * 5))

    assert [reply.status for reply in replies] == [200] * 5
    assert server.connections == 1


def test_connections_are_as_many_as_concurrent_requests() -> None:
    gate = 150

    async def script(request: Request) -> bytes | None:
        while len(server.requests) < gate:
            await asyncio.sleep(0.01)
        return http(b"{}")

    async def work(transport: Http1Transport) -> list[Outcome]:
        return await asyncio.gather(*(posted(transport) for _ in range(gate)))

    with ScriptedServer(script) as server:
        replies = use(server.url, work)

    assert [reply.status for reply in replies] == [200] * gate
    assert server.connections == gate


def test_connection_closed_by_the_server_is_not_reused() -> None:
    with ScriptedServer(answer(http(b"{}", 200, "Connection: close"))) as server:
        replies = use(server.url, one_after_another([b"{}"] * 3))

    assert [reply.status for reply in replies] == [200] * 3
    assert server.connections == 3


CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Length: none\r\n\r\n"
    b"4\r\nabcd\r\n3\r\nefg\r\n0\r\n\r\n"
)
UNTIL_CLOSED = b"HTTP/1.1 200 OK\r\nServer: old\r\n\r\nabcdefg"
AFTER_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n" + http(b"abcdefg")


@pytest.mark.parametrize(
    "text", [CHUNKED, UNTIL_CLOSED, AFTER_CONTINUE], ids=["chunked", "until closed", "continue"]
)
def test_response_is_read_whole_under_every_framing(text: bytes) -> None:
    with ScriptedServer(answer(text)) as server:
        (reply,) = use(server.url, one_after_another([b"{}"]))

    assert bytes(reply.body) == b"abcdefg"


ONE_CHUNK = b"7\r\nabcdefg\r\n0\r\n\r\n"
BOTH_LENGTHS = http(b"", 200, "Transfer-Encoding: chunked").replace(b": 0", b": 5") + ONE_CHUNK


@pytest.mark.parametrize(
    "text", [http(b"abcdefg").replace(b"\r\n", b"\n"), BOTH_LENGTHS], ids=["lf", "both lengths"]
)
def test_response_with_careless_framing_is_read(text: bytes) -> None:
    with ScriptedServer(answer(text)) as server:
        (reply,) = use(server.url, one_after_another([b"{}"]))

    assert (reply.status, bytes(reply.body)) == (200, b"abcdefg")


def test_response_without_a_date_has_the_one_of_its_arrival() -> None:
    with ScriptedServer(answer(http(b"{}", 429))) as server:
        (reply,) = use(server.url, one_after_another([b"{}"]))

    sent = parsedate_to_datetime(reply.header("date") or "")
    assert abs((datetime.now(UTC) - sent).total_seconds()) < 600


def test_header_is_found_by_its_lower_case_name() -> None:
    with ScriptedServer(answer(http(b"{}", 429, "Retry-After: 7"))) as server:
        (reply,) = use(server.url, one_after_another([b"{}"]))

    assert reply.status == 429
    assert reply.header("retry-after") == "7"
    assert reply.header("x-other") is None


@pytest.mark.parametrize(
    "text",
    [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nConnection: close\r\n\r\nabc", b"length?"],
    ids=["nothing", "cut off", "not HTTP"],
)
def test_incomplete_response_is_an_error(text: bytes) -> None:
    with ScriptedServer(answer(text) if text else closing) as server:
        (outcome,) = use(server.url, one_after_another([b"{}"]))

    assert isinstance(outcome, NoAnswer)
    assert not outcome.timed_out


async def closing(request: Request) -> bytes | None:
    return None


def test_unreachable_server_was_sent_nothing() -> None:
    with ScriptedServer() as server:
        url = server.url
    (outcome,) = use(url, one_after_another([b"{}"]))

    assert isinstance(outcome, NotSent)


def test_cancelled_call_closes_its_connection() -> None:
    async def script(request: Request) -> bytes | None:
        if request.number == 1:
            await asyncio.sleep(60)
        return http(b"{}")

    async def work(transport: Http1Transport) -> Outcome:
        said: list[Outcome] = []
        call = transport.send(b"{}", said.append)
        while not server.requests:
            await asyncio.sleep(0.01)
        call.cancel()
        reply = await posted(transport)
        assert not said
        return reply

    with ScriptedServer(script) as server:
        reply = use(server.url, work)

    assert isinstance(reply, Reply)
    assert server.connections == 2


def test_connections_can_be_opened_in_advance() -> None:
    async def work(transport: Http1Transport) -> int:
        transport.warm(8)
        while server.open < 8:
            await asyncio.sleep(0.01)
        transport.warm(8)
        await asyncio.gather(*(posted(transport) for _ in range(8)))
        return server.connections

    with ScriptedServer() as server:
        assert use(server.url, work) == 8


def test_idle_connection_closed_by_the_server_is_replaced() -> None:
    async def work(transport: Http1Transport) -> list[Outcome]:
        first = await posted(transport)
        while server.open:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        return [first, await posted(transport)]

    async def once_each(request: Request) -> bytes | None:
        # Closes without saying so in the answer.
        return http(b"{}", 200, "X-Note: connection: close")

    with ScriptedServer(once_each) as server:
        replies = use(server.url, work)

    assert [type(reply) for reply in replies] == [Reply, Reply]
    assert server.connections == 2
