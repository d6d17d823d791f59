"""A worker pool in which something fails that nobody expects: all that waits for it ends."""

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from mayfly.models.errors import MayflyError, RunStopped, TerminalError
from mayfly.storage.dataset import Dataset
from mayfly.storage.journal import Disk, Journal
from mayfly.system import SYSTEM
from mayfly.workers.carrier import Absent, Carrier, Fail, Join
from mayfly.workers.dask_fleet import DaskFleet
from mayfly.workers.protocol import Take
from mayfly.workers.worker import ShardWorker
from tests.support.scripted_server import Request, completion, http
from tests.support.wait import wait_until
from tests.support.worker_pool import PoolSetup, ThreadedWorker, pool_on, served, work


class BrokenDataset:
    """A dataset whose rows cannot be read, for a reason that nobody expects."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dataset, name)

    def read(self, *_args: object) -> Iterator[Any]:
        raise ZeroDivisionError("odd rows")


def test_rows_that_cannot_be_read_end_the_shards(tmp_path: Path) -> None:
    script, _ = served()
    with pool_on(tmp_path, script, carried=True, concurrency=4) as at:
        broken: Any = BrokenDataset(at.batch.dataset)
        at.batch = replace(at.batch, dataset=broken)
        with pytest.raises(TerminalError, match=r"reading the rows .* ZeroDivisionError: odd rows"):
            at.answer_all()


def test_journal_that_fails_ends_the_run(tmp_path: Path) -> None:
    opened: list[int] = []

    def sync_data(file: int) -> None:
        opened.append(file)  # The first four times a shard's journal, with its first line.
        if len(opened) == 5:
            raise ZeroDivisionError("odd disk")

    script, _ = served()
    with pool_on(tmp_path, script, rows=2000, concurrency=4) as at:
        disk = Disk(system=replace(SYSTEM, sync_data=sync_data), behind_bytes=0)
        at.batch = replace(at.batch, disk=disk)
        with pytest.raises(MayflyError, match="ZeroDivisionError: odd disk"):
            at.answer_all()
        assert at.pool.ended


class HangingJournal(Journal):
    """A journal on a disk that hangs with the first answers, until it returns."""

    def __init__(self, at: PoolSetup, folder: Path, *, hangs_in: str) -> None:
        self.hangs, self.returned = threading.Event(), threading.Event()
        self._hangs_in, self._opened = hangs_in, False
        disk = Disk(system=replace(SYSTEM, sync_data=self.sync_data), behind_bytes=0)
        super().__init__(folder / "journal", fingerprint="f" * 64, shard=at.shards[0], disk=disk)
        self._opened = True

    def sync_data(self, _file: int) -> None:
        """Wait instead."""
        if self._opened and self._hangs_in == "sync":
            self.hangs.set()
            self.returned.wait()

    def write_lines(self, lines: bytes, rows: Sequence[int]) -> None:
        """Write answers, after a while."""
        if self._hangs_in == "write":
            self.hangs.set()
            self.returned.wait()
        super().write_lines(lines, rows)


@pytest.mark.parametrize("hangs_in", ["sync", "write"])
def test_disk_that_hangs_holds_up_no_stop(tmp_path: Path, hangs_in: str) -> None:
    script, _ = served()
    with (
        pool_on(tmp_path, script, rows=4000, release_s=0.2, concurrency=4) as at,
        HangingJournal(at, tmp_path, hangs_in=hangs_in) as journal,
        ThreadPoolExecutor(1) as threads,
    ):
        answering = threads.submit(at.pool.send, at.batch, at.shards[0], frozenset(), journal)
        journal.hangs.wait()
        at.pool.stop(RunStopped("enough"), grace_s=0)
        wait_until(lambda: at.pool.snapshot().in_flight == 0, "workers ended")
        journal.returned.set()
        with pytest.raises(RunStopped, match="enough"):
            answering.result()
        assert len(at.server.requests) <= 8


def test_large_answers_reach_the_journal_after_the_engine_has_ended(tmp_path: Path) -> None:
    # More than the connection takes in ticks of the worker before it is killed.
    rows, text = 24, "x" * 2**22
    asked, everything = [0], asyncio.Event()

    async def script(_request: Request) -> bytes:
        asked[0] += 1
        if asked[0] == rows:
            everything.set()
        await everything.wait()
        return http(completion(text))

    with (
        pool_on(tmp_path, script, rows=4 * rows, workers=1, release_s=5, concurrency=rows) as at,
        HangingJournal(at, tmp_path, hangs_in="write") as journal,
        ThreadPoolExecutor(1) as threads,
    ):
        answering = threads.submit(at.pool.send, at.batch, at.shards[0], frozenset(), journal)
        journal.hangs.wait()
        wait_until(lambda: at.server.answered == rows, "answers at the worker")
        at.pool.stop(RunStopped("enough"), grace_s=1)
        engines = [one for one in threading.enumerate() if one.name == "engine"]
        wait_until(lambda: not any(one.is_alive() for one in engines), "ended engine")
        journal.returned.set()
        answering.result()
        assert len(journal.answers) == rows


def test_worker_that_ends_no_shard_after_a_stop_is_killed_at_once(tmp_path: Path) -> None:
    taken = threading.Event()
    killed: list[bool] = []

    class Remembered(ThreadedWorker):
        def end(self, *, hung: bool = False) -> str:
            killed.append(hung)
            return super().end(hung=hung)

    def take_only(connection: "Connection[Any, Any]") -> None:
        while True:
            if isinstance(connection.recv(), Take):
                taken.set()

    script, _ = served()
    with (
        pool_on(
            tmp_path, script, start=lambda: Remembered(take_only), workers=1, release_s=0.1
        ) as at,
        ThreadPoolExecutor(1) as threads,
    ):
        answering = threads.submit(at.answer, at.shards[0])
        taken.wait()
        at.pool.stop(RunStopped("enough"), grace_s=0)
        with pytest.raises(RunStopped, match="enough"):
            answering.result()
    assert killed == [True]


class SoonReplaced(ThreadedWorker):
    """A worker that counts as hung after 5 s."""

    hang_s = 5.0


@pytest.mark.soak
@pytest.mark.parametrize("hangs_in", ["sync", "write"])
def test_disk_that_hangs_replaces_no_worker(tmp_path: Path, hangs_in: str) -> None:
    started: list[Carrier] = []

    def start() -> Carrier:
        started.append(SoonReplaced(work))
        return started[-1]

    script, _ = served()
    with (
        pool_on(tmp_path, script, start=start, concurrency=4) as at,
        HangingJournal(at, tmp_path, hangs_in=hangs_in) as journal,
        ThreadPoolExecutor(1) as threads,
    ):
        answering = threads.submit(at.pool.send, at.batch, at.shards[0], frozenset(), journal)
        journal.hangs.wait()
        time.sleep(SoonReplaced.hang_s + 3)
        journal.returned.set()
        answering.result()
        assert len(journal.answers) == len(at.server.requests) == at.shards[0].rows
        assert len(started) == 2


def test_workers_that_cannot_be_started_end_the_run(tmp_path: Path) -> None:
    def start() -> Carrier:
        raise OSError(24, "Too many open files")

    script, _ = served()
    with (
        pool_on(tmp_path, script, start=start, concurrency=4) as at,
        pytest.raises(TerminalError, match="Too many open files"),
    ):
        at.answer_all()


def test_worker_that_cannot_report_is_replaced(tmp_path: Path) -> None:
    # Rows are sent once the pool has the first report.
    sending, first = threading.Event(), threading.Semaphore(1)
    reporting: list[threading.Thread] = []

    def clock() -> float:
        if sending.is_set() and threading.current_thread() in reporting:
            raise ZeroDivisionError("odd clock")
        return time.monotonic()

    def work_with_a_broken_clock(connection: "Connection[Any, Any]") -> None:
        if first.acquire(blocking=False):
            reporting.append(threading.current_thread())
            ShardWorker(connection, connection.recv(), clock=clock).serve()
        else:
            work(connection)

    async def script(request: Request) -> bytes:
        sending.set()
        await asyncio.sleep(0.01)
        return http(completion(request.prompt))

    with pool_on(tmp_path, script, work_with_a_broken_clock, workers=1, concurrency=4) as at:
        assert at.answer_all().done == 200


class LostCluster:
    """A Dask cluster that cannot be watched."""

    address, lost = "tcp://127.0.0.1:1", False

    def addresses(self) -> list[str]:
        return []

    @contextmanager
    def demand(self) -> Iterator[None]:
        raise ZeroDivisionError("odd scheduler")
        yield


class Started:
    """A fleet that only remembers that it was started."""

    size = 1

    def __init__(self) -> None:
        self.opened = threading.Event()

    def open(self, join: Join, fail: Fail, absent: Absent) -> int:
        """Start nothing."""
        del join, fail, absent
        self.opened.set()
        return 1

    def lost(self, carrier: Carrier, reason: str, *, ready: bool) -> int:
        """Start nothing."""
        del carrier, reason, ready
        return 0

    def close(self) -> None:
        return


def test_cluster_that_is_no_longer_watched_is_left() -> None:
    messages, local = list[str](), Started()
    cluster: Any = LostCluster()
    fleet = DaskFleet(cluster, local, shards=4, log=messages.append)
    fleet.open(lambda _carrier: True, lambda _error: None, lambda: None)

    assert local.opened.wait(60)
    assert "ZeroDivisionError: odd scheduler" in messages[0]
