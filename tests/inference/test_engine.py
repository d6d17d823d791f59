"""The engine: every row is answered once, whatever the server does."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import orjson
import pytest

from mayfly.backoff import Backoff
from mayfly.inference.engine import Engine, EngineSettings, Target
from mayfly.models.errors import CredentialsRefused, EndpointLost, RunStopped
from mayfly.models.failures import NULL_PROMPT, Failure
from mayfly.models.rows import Answer, RowRequest
from tests.support.scripted_server import Request, Script, ScriptedServer, completion, echo, http

QUICK = Backoff(base_s=0.01, cap_s=0.05)
ERROR = b'{"error": {"message": "server says no", "code": "some_code"}}'


NULL = Failure(NULL_PROMPT, "column prompt is null")


def rows(count: int, first: int = 0) -> Iterator[RowRequest]:
    for row in range(first, first + count):
        body = orjson.dumps({"messages": [{"role": "user", "content": f"row {row}"}]})
        yield RowRequest(row, body)


@contextmanager
def engine_on(
    script: Script, *, concurrency: int = 8, row_timeout_s: float | None = None
) -> Iterator[tuple[Engine, ScriptedServer]]:
    settings = EngineSettings(
        concurrency=concurrency, backoff=QUICK, row_attempts=4, row_timeout_s=row_timeout_s
    )
    with (
        ScriptedServer(script) as server,
        Engine(target=Target(url=server.url, headers={}), settings=settings) as engine,
    ):
        yield engine, server


def answers(engine: Engine, requests: Iterator[RowRequest]) -> dict[int, Answer]:
    found: list[Answer] = []
    engine.answer(requests, found.append)
    assert len({answer.row for answer in found}) == len(found)
    return {answer.row: answer for answer in found}


def test_rows_are_answered_once_and_counted() -> None:
    with engine_on(echo) as (engine, server):
        found = answers(engine, rows(1000))
        tally = engine.snapshot().tally

    assert {row: answer.response for row, answer in found.items()} == {
        row: f"ROW {row}" for row in range(1000)
    }
    assert len(server.requests) == 1000
    assert tally == (1000, 0, 3000, 2000, 1000, 1000)


def test_requests_in_flight_equal_the_limit() -> None:
    held = most = 0

    async def script(request: Request) -> bytes | None:
        nonlocal held, most
        held += 1
        most = max(most, held)
        while most < 12 and len(server.requests) < 12:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)
        held -= 1
        return http(completion("yes"))

    with engine_on(script, concurrency=12) as (engine, server):
        assert len(answers(engine, rows(200))) == 200

    assert most == 12


def test_streams_share_the_limit_and_get_their_own_rows() -> None:
    with engine_on(echo) as (engine, _), ThreadPoolExecutor(3) as threads:
        found = list(threads.map(lambda n: answers(engine, rows(300, first=300 * n)), range(3)))

    assert [sorted(part) for part in found] == [
        list(range(first, first + 300)) for first in (0, 300, 600)
    ]


def test_rows_of_next_shard_are_sent_before_this_one_ends() -> None:
    next_sent = asyncio.Event()

    async def script(request: Request) -> bytes | None:
        if int(request.prompt.removeprefix("row ")) >= 100:
            next_sent.set()
        elif request.prompt == "row 19":
            await next_sent.wait()
        return await echo(request)

    with engine_on(script, concurrency=4) as (engine, _), ThreadPoolExecutor(2) as threads:
        found = list(threads.map(lambda first: answers(engine, rows(20, first)), [0, 100]))

    assert [len(shard) for shard in found] == [20, 20]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_transient_failure_is_retried(status: int) -> None:
    async def script(request: Request) -> bytes | None:
        return http(ERROR, status) if request.number <= 2 else await echo(request)

    with engine_on(script, concurrency=1) as (engine, _):
        found = answers(engine, rows(1))

    assert found[0].response == "ROW 0"
    assert found[0].attempts == 3


@pytest.mark.parametrize("broken", [None, http(b'{"choices": ['), http(b"[]")])
def test_empty_response_is_retried(broken: bytes | None) -> None:
    async def script(request: Request) -> bytes | None:
        return broken if request.number == 1 else await echo(request)

    with engine_on(script, concurrency=1) as (engine, _):
        found = answers(engine, rows(3))

    assert [found[row].response for row in range(3)] == ["ROW 0", "ROW 1", "ROW 2"]
    assert sum(answer.attempts for answer in found.values()) == 4


def test_request_timeout_holds_against_a_trickling_response() -> None:
    async def script(request: Request) -> bytes | None:
        if request.prompt != "row 3":
            return await echo(request)
        request.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        for _ in range(200):
            request.write(b" ")
            await asyncio.sleep(0.05)
        return None

    with engine_on(script, row_timeout_s=1.0) as (engine, server):
        found = answers(engine, rows(20))

    assert [row for row, answer in found.items() if answer.error] == [3]
    assert "none within" in (found[3].error or "")
    assert len(server.requests) == 20


def test_failing_row_fails_alone() -> None:
    async def script(request: Request) -> bytes | None:
        return http(ERROR, 500) if request.prompt == "row 3" else await echo(request)

    with engine_on(script) as (engine, _):
        found = answers(engine, rows(20))

    assert [row for row, answer in found.items() if answer.error] == [3]
    assert "server says no" in (found[3].error or "")
    assert found[3].attempts == 4


def test_row_that_cannot_be_rendered_is_not_sent() -> None:
    with engine_on(echo) as (engine, server):
        found = answers(engine, iter([RowRequest(0, b"", NULL), *rows(1, first=1)]))

    assert found[0] == Answer(0, None, NULL)
    assert len(server.requests) == 1


def test_refused_key_ends_the_run_at_once() -> None:
    async def script(request: Request) -> bytes | None:
        return http(ERROR, 401)

    with (
        engine_on(script) as (engine, server),
        pytest.raises(CredentialsRefused, match="server says no"),
    ):
        answers(engine, rows(500))

    assert len(server.requests) <= 16


def test_deleted_endpoint_ends_the_run_and_keeps_answers() -> None:
    async def script(request: Request) -> bytes | None:
        return await echo(request) if request.number <= 100 else http(ERROR, 404)

    found: list[Answer] = []
    with engine_on(script) as (engine, _), pytest.raises(EndpointLost):
        engine.answer(rows(500), found.append)

    assert len([answer for answer in found if answer.response]) == 100


def test_stop_waits_for_requests_in_flight_within_the_grace() -> None:
    go = threading.Event()

    async def script(request: Request) -> bytes | None:
        while not go.is_set():
            await asyncio.sleep(0.01)
        return await echo(request)

    found: list[Answer] = []
    with engine_on(script) as (engine, server):

        def stop() -> None:
            while len(server.requests) < 8:
                go.wait(0.01)
            engine.stop(RunStopped("enough"), grace_s=30)
            while engine.snapshot().waiting < 1:
                go.wait(0.01)
            go.set()

        thread = threading.Thread(target=stop)
        thread.start()
        with pytest.raises(RunStopped, match="enough"):
            engine.answer(rows(100), found.append)
        thread.join()

    assert len(found) == len(server.requests) == 8


def test_stop_without_grace_sends_nothing_and_waits_for_nothing() -> None:
    async def script(request: Request) -> bytes | None:
        await asyncio.sleep(60)
        return None

    with engine_on(script) as (engine, server):

        def stop() -> None:
            while len(server.requests) < 8:
                threading.Event().wait(0.01)
            engine.stop(RunStopped("enough"), grace_s=0)

        thread = threading.Thread(target=stop)
        thread.start()
        with pytest.raises(RunStopped):
            answers(engine, rows(100))
        thread.join()

    assert len(server.requests) == 8


def test_rejected_answers_are_requested_again_with_the_correction() -> None:
    found: list[Answer] = []

    def record(answer: Answer) -> list[RowRequest] | None:
        if answer.row == 5 and answer.response == "ROW 5":
            (request,) = rows(1, first=5)
            return [request._replace(body=request.body.replace(b"row 5", b"row 5 once more"))]
        found.append(answer)
        return None

    with engine_on(echo, concurrency=2) as (engine, _):
        tally = engine.answer(rows(10), record)

    assert {a.row: a.response for a in found}[5] == "ROW 5 ONCE MORE"
    assert len(found) == tally.done == 10


def test_slow_row_at_the_end_is_hedged_and_recorded_once() -> None:
    async def script(request: Request) -> bytes | None:
        if (
            request.prompt == "row 199"
            and sum(1 for other in server.requests if other.prompt == "row 199") == 1
        ):
            await asyncio.sleep(60)
        return await echo(request)

    with engine_on(script) as (engine, server):
        engine.hedge_after(calls=1, replicas=2)
        found = answers(engine, rows(200))
        hedges = engine.snapshot().hedges

    assert found[199].response == "ROW 199"
    assert found[199].attempts == 2
    assert len(found) == 200
    assert hedges >= 1


def test_row_is_not_hedged_while_more_may_follow() -> None:
    async def script(request: Request) -> bytes | None:
        if request.prompt == "row 199":
            await asyncio.sleep(0.5)
        return await echo(request)

    with engine_on(script) as (engine, server):
        answers(engine, rows(200))

    assert len(server.requests) == 200
