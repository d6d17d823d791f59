"""The worker pool: several workers under one limit, however one of them ends.

Real workers in threads instead of processes; or simulated ones where they die.
"""

import asyncio
import fcntl
import os
import select
import signal
import termios
import threading
from array import array
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mayfly.models.errors import CredentialsRefused, RunStopped, TerminalError
from mayfly.storage.journal import Journal
from mayfly.workers.process import MOST_WORKERS, LocalProcess, workers_for
from mayfly.workers.protocol import Report, Take
from mayfly.workers.worker import ShardWorker
from tests.support.scripted_server import Request, completion, http
from tests.support.wait import wait_until
from tests.support.worker_pool import PoolSetup, pool_on, served


def die_with_the_first_shard(connection: "Connection[Any, Any]") -> None:
    connection.send(Report(0, 0, 0, 0, more=False, retries=0, hedges=0, samples=[], messages=[]))
    while not isinstance(connection.recv(), Take):
        continue


def work_deaf_to_the_end(connection: "Connection[Any, Any]") -> None:
    """Take shards and never let go of them."""
    connection.send(Report(0, 0, 0, 0, more=False, retries=0, hedges=0, samples=[], messages=[]))
    while True:
        connection.recv()


def test_shards_are_spread_over_workers_and_rows_sent_once(tmp_path: Path) -> None:
    script, held = served()
    with pool_on(tmp_path, script, concurrency=12) as at:
        tally = at.answer_all()

        assert tally == at.pool.snapshot().tally
        assert tally.done == 200
        assert len(at.server.requests) == 200
        assert max(held) <= 12
    table = pq.read_table(tmp_path / "output")
    assert table["response"].to_pylist() == [f"row {row}" for row in range(200)]


def test_rows_sent_by_the_run_are_sent_once_in_order(tmp_path: Path) -> None:
    script, _ = served()
    with pool_on(tmp_path, script, rows=20_000, carried=True, concurrency=64) as at:
        assert at.answer_all().done == 20_000
        assert len(at.server.requests) == 20_000
    table = pq.read_table(tmp_path / "output")
    assert table["response"].to_pylist() == [f"row {row}" for row in range(20_000)]


def test_huge_rows_and_huge_answers_do_not_wait_for_each_other(tmp_path: Path) -> None:
    script, _ = served()

    def prompt(row: int) -> str:
        return f"row {row} " + "x" * 2**20

    with pool_on(tmp_path, script, rows=48, prompt=prompt, carried=True, concurrency=8) as at:
        assert at.answer_all().failed == 0
    table = pq.read_table(tmp_path / "output")
    assert table["response"].to_pylist() == [prompt(row) for row in range(48)]


def test_worker_that_reads_nothing_does_not_hold_up_a_stop(tmp_path: Path) -> None:
    script, _ = served()
    already = frozenset(range(10**6, 2 * 10**6))  # More than a socket holds.
    full = threading.Event()

    def read_nothing(connection: "Connection[Any, Any]") -> None:
        report = Report(0, 0, 0, 0, more=False, retries=0, hedges=0, samples=[], messages=[])
        connection.send(report)
        other_end = select.poll()
        other_end.register(connection, 0)  # It tells only that it was closed.
        # A worker that joins late gets no shard: the first one may have both.
        wait_until(
            lambda: _unread(connection) > 50_000 or other_end.poll(0),
            "a part of a shard's command, or the end",
        )
        full.set()
        other_end.poll()

    with (
        pool_on(tmp_path, script, read_nothing, release_s=0.2, concurrency=4) as at,
        Journal(tmp_path / "journal", fingerprint="f" * 64, shard=at.shards[0]) as journal,
        ThreadPoolExecutor(2) as threads,
    ):
        for shard in at.shards[:2]:
            sent = threads.submit(at.pool.send, at.batch, shard, already, journal)
        full.wait()
        at.pool.stop(RunStopped("enough"), grace_s=0)
        with pytest.raises(RunStopped, match="enough"):
            sent.result(timeout=60)


def _unread(connection: "Connection[Any, Any]") -> int:
    count = array("i", [0])
    fcntl.ioctl(connection, termios.FIONREAD, count)
    return count[0]


def test_shared_limiter_uses_measurements_of_all_workers(tmp_path: Path) -> None:
    script, held = served(0.02)
    with pool_on(tmp_path, script, rows=1200, concurrency=None) as at:
        at.pool.begin_at(4)
        at.answer_all()

        # The server is never saturated: a limiter without measurements would stay at its start.
        assert max(held) > 8


def test_slow_row_at_the_end_is_hedged_by_its_worker_and_written_once(tmp_path: Path) -> None:
    over, slow = threading.Event(), list[Request]()

    async def script(request: Request) -> bytes:
        if request.prompt == "row 199":
            slow.append(request)
            if len(slow) == 1:
                await asyncio.to_thread(over.wait)
        await asyncio.sleep(0.01)
        return http(completion(request.prompt))

    with pool_on(tmp_path, script, concurrency=8) as at:
        at.pool.hedge_after(calls=4, replicas=2)
        assert at.answer_all().done == 200
        hedges = at.pool.snapshot().hedges
        over.set()

    assert hedges >= 1
    assert len(slow) == 2
    table = pq.read_table(tmp_path / "output")
    assert table["response"].to_pylist() == [f"row {row}" for row in range(200)]


def test_totals_are_known_while_rows_are_sent(tmp_path: Path) -> None:
    more, asked = threading.Event(), list[Request]()

    async def script(request: Request) -> bytes:
        asked.append(request)
        if len(asked) > 60:
            await asyncio.to_thread(more.wait)
        return http(completion(request.prompt))

    def known(at: PoolSetup) -> bool:
        snapshot = at.pool.snapshot()
        return snapshot.tally.done == 60 and snapshot.in_flight == 8

    with pool_on(tmp_path, script, concurrency=8) as at, ThreadPoolExecutor(1) as threads:
        answering = threads.submit(at.answer_all)
        try:
            wait_until(lambda: known(at), "60 rows answered, and 8 in flight")
        finally:
            more.set()
        assert answering.result().done == 200
        assert at.pool.snapshot().tally.done == 200


def test_fatal_response_stops_all_workers(tmp_path: Path) -> None:
    async def script(_request: Request) -> bytes:
        await asyncio.sleep(0.01)
        return http(b'{"error": {"message": "no such key", "code": "bad"}}', 401)

    with pool_on(tmp_path, script, rows=2000, concurrency=8) as at:
        with pytest.raises(CredentialsRefused, match="no such key"):
            at.answer_all()

        assert len(at.server.requests) < 200


def test_stop_waits_for_requests_in_flight_and_keeps_their_answers(
    tmp_path: Path,
) -> None:
    release, shard_workers = threading.Event(), list[ShardWorker]()

    async def script(request: Request) -> bytes:
        await asyncio.to_thread(release.wait)
        return http(completion(request.prompt))

    def known_work(connection: "Connection[Any, Any]") -> None:
        shard_worker = ShardWorker(connection, connection.recv())
        shard_workers.append(shard_worker)
        shard_worker.serve()

    with pool_on(tmp_path, script, known_work, concurrency=6) as at:
        threading.Thread(target=lambda: _stop_when_full(at, shard_workers, 6, release)).start()
        with pytest.raises(RunStopped, match="enough"):
            at.answer_all()

        assert len(at.server.requests) == 6
        assert at.pool.snapshot().tally.done == 6
        with pytest.raises(RunStopped, match="enough"):
            at.answer(at.shards[0])


def _stop_when_full(
    at: PoolSetup, shard_workers: list[ShardWorker], requests: int, release: threading.Event
) -> None:
    pause = threading.Event()
    while len(at.server.requests) < requests:
        pause.wait(0.005)
    at.pool.stop(RunStopped("enough"), grace_s=30)
    # The pool has stopped at once, its workers when they have read the message.
    while not all(shard_worker.ended for shard_worker in shard_workers):
        pause.wait(0.005)
    release.set()


def test_shard_that_kills_workers_is_given_up(tmp_path: Path) -> None:
    script, _ = served()
    with pool_on(tmp_path, script, die_with_the_first_shard, concurrency=4) as at:
        with pytest.raises(TerminalError, match="3 workers died while sending it"):
            at.answer_all()

        assert not at.server.requests


def test_workers_that_do_not_start_end_the_run_and_name_their_log(tmp_path: Path) -> None:
    script, _ = served()
    with (
        pool_on(tmp_path, script, lambda _connection: None, concurrency=4) as at,
        pytest.raises(TerminalError, match=r"before it was ready; see .*workers\.log"),
    ):
        at.answer_all()


def test_worker_that_ignores_stop_is_killed(
    tmp_path: Path,
) -> None:
    script, _ = served()
    with pool_on(tmp_path, script, work_deaf_to_the_end, release_s=0.2, concurrency=4) as at:
        threading.Thread(target=lambda: at.pool.stop(RunStopped("enough"), grace_s=0)).start()
        with pytest.raises(RunStopped, match="enough"):
            at.answer_all()


def test_workers_are_at_most_cores_and_shards() -> None:
    assert workers_for(1) == 1
    assert 2 <= workers_for(1000) <= MOST_WORKERS


def test_paused_worker_is_replaced_and_its_rows_sent_by_another(
    tmp_path: Path,
) -> None:
    script, _ = served(0.01)
    started: list[LocalProcess] = []

    def start() -> LocalProcess:
        started.append(LocalProcess(tmp_path / "workers.log", hang_s=5.0))
        return started[-1]

    with pool_on(tmp_path, script, rows=4000, start=start, concurrency=8) as at:

        def pause() -> None:
            wait_until(lambda: len(at.server.requests) > 400, "400 requests")
            os.kill(started[0].pid, signal.SIGSTOP)

        threading.Thread(target=pause).start()
        at.answer_all()

        assert len(at.server.requests) <= 4000 + 8
        assert len(started) == 3
    table = pq.read_table(tmp_path / "output")
    assert table["response"].to_pylist() == [f"row {row}" for row in range(4000)]
