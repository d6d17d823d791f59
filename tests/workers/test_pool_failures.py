"""A worker pool in which something fails that nobody expects: all that waits for it ends."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from mayfly.models.errors import MayflyError, TerminalError
from mayfly.storage.dataset import Dataset
from mayfly.storage.journal import Disk
from mayfly.system import SYSTEM
from mayfly.workers.carrier import Absent, Carrier, Fail, Join
from mayfly.workers.dask_fleet import DaskFleet
from mayfly.workers.worker import ShardWorker
from tests.support.scripted_server import Request, completion, http
from tests.support.worker_pool import pool_on, served, work


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

    def clock() -> float:
        if sending.is_set() and threading.current_thread().name == "reports":
            raise ZeroDivisionError("odd clock")
        return time.monotonic()

    def work_with_a_broken_clock(connection: "Connection[Any, Any]") -> None:
        if first.acquire(blocking=False):
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
