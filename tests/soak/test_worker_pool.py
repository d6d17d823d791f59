"""Worker processes that are killed and paused at random moments: no row is lost or paid twice."""

import asyncio
import os
import random
import signal
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from mayfly.models.errors import RunStopped
from mayfly.storage.journal import Disk
from mayfly.workers.process import LocalProcess
from tests.support.scripted_server import Request, completion, http
from tests.support.worker_pool import pool_on

ROWS = 400


def sends(worker: LocalProcess) -> bool:
    """Whether it is connected to the server."""
    return any(one.raddr for one in psutil.Process(worker.pid).net_connections("tcp"))


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(8))
def test_random_losses_of_workers_lose_no_row_and_repeat_only_those_in_flight(
    tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 - a schedule, not a secret
    concurrency, size = chance.choice([4, 32]), chance.choice([10, 50_000])
    behind_bytes, carried = chance.choice([0, 10_000, 2**25]), chance.choice([False, True])
    asked, workers, kills = Counter[str](), list[LocalProcess](), 0
    over = threading.Event()

    def start() -> LocalProcess:
        workers.append(LocalProcess(tmp_path / "workers.log"))
        return workers[-1]

    async def script(request: Request) -> bytes:
        asked[request.prompt] += 1
        await asyncio.sleep(0.02 * chance.random())
        return http(completion(request.prompt + "x" * size))

    with pool_on(
        tmp_path, script, rows=ROWS, carried=carried, start=start, concurrency=concurrency
    ) as at:
        at.batch = replace(at.batch, disk=Disk(behind_bytes=behind_bytes))

        def disturb() -> None:
            nonlocal kills
            while len(asked) < chance.randrange(1, ROWS // 4) and not over.wait(0.01):
                pass
            # One that has not begun ends the run when it dies.
            worker = chance.choice([one for one in workers if sends(one)])
            os.kill(worker.pid, signal.SIGSTOP)
            over.wait(chance.random())
            os.kill(worker.pid, signal.SIGCONT)
            if chance.random() < 0.7 and not over.is_set():
                kills = 1
                os.kill(worker.pid, signal.SIGKILL)
            if chance.random() < 0.4 and not over.wait(0.2):
                at.pool.stop(RunStopped("enough"), grace_s=0)

        disturbing = threading.Thread(target=disturb)
        disturbing.start()
        stopped = True
        with suppress(RunStopped):
            at.answer_all()
            stopped = False
        over.set()
        disturbing.join()
        if not stopped:
            assert at.pool.snapshot().tally.done == ROWS

    repeated = sum(asked.values()) - len(asked)
    # A pause makes rows slow, which may be hedged.
    assert repeated <= kills * concurrency + at.pool.snapshot().hedges
    if not stopped:
        parts = sorted((tmp_path / "output").glob("*.parquet"))
        texts = [text for part in parts for text in pq.read_table(part)["response"].to_pylist()]
        assert texts == [f"row {row}" + "x" * size for row in range(ROWS)]
