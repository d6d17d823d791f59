"""Running shards: many small ones at once, large rows in bounded memory, a slow disk."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mayfly.inference.prefix_order import WINDOW_BYTES, by_prefix
from mayfly.inference.request_builder import Frame, Renderer
from mayfly.inference.row_stream import AHEAD_BYTES
from mayfly.models.job import PromptSpec, Sampling
from mayfly.models.rows import Answer, RowRequest, Tally
from mayfly.models.shards import plan_shards
from mayfly.shards.runner import Batch, answer_rows, send_rows
from mayfly.storage.journal import Disk, Journal
from mayfly.storage.open_input import open_dataset
from mayfly.storage.run_paths import RunPaths
from mayfly.system import SYSTEM
from tests.support.fake_transport import Served, Server, engine_on, said

MOST_SHARDS = 16
"""As many as a run has in progress where they are small."""


def batch_of(folder: Path, prompts: list[str]) -> Batch:
    path = folder / "input.parquet"
    pq.write_table(pa.table({"n": range(len(prompts)), "prompt": prompts}), path)
    dataset, paths = open_dataset(str(path)), RunPaths(folder / "output")
    paths.journals.mkdir(parents=True)
    renderer = Renderer(PromptSpec(), Sampling(), dataset.columns)
    return Batch(dataset=dataset, renderer=renderer, paths=paths, model="m", fingerprint="f" * 64)


def echo(body: dict[str, Any]) -> Served:
    return said(body["messages"][0]["content"][:20])


def answered(batch: Batch, server: Server, *, shard_rows: int) -> Tally:
    shards = plan_shards(batch.dataset.row_groups, shard_rows=shard_rows)
    with engine_on(server) as engine, ThreadPoolExecutor(MOST_SHARDS) as threads:
        calls = [threads.submit(answer_rows, batch, shard, engine) for shard in shards]
        return sum((call.result() for call in calls), start=Tally())


def test_concurrent_small_shards_have_their_own_rows_once(tmp_path: Path) -> None:
    prompts = [f"row {row:04d}" for row in range(500)]
    batch, server = batch_of(tmp_path, prompts), Server(echo)

    tally = answered(batch, server, shard_rows=20)

    assert tally.done == len(server.bodies) == 500
    assert len(list(batch.paths.folder.glob("part-*.parquet"))) == 25
    table = pq.read_table(batch.paths.folder)
    assert table["n"].to_pylist() == list(range(500))
    assert table["response"].to_pylist() == prompts


def test_concurrent_shards_decode_one_at_a_time(tmp_path: Path) -> None:
    # Parquet's pages are decoded whole, and this input is one: each reader holds all of it.
    prompts = [f"{row:04d}".ljust(100_000, "x") for row in range(160)]
    batch = batch_of(tmp_path, prompts)
    before, most = pa.total_allocated_bytes(), 0
    for _ in batch.dataset.read(0, 160, ["prompt"], batch_rows=10):
        one_reader = pa.total_allocated_bytes() - before

    def serve(body: dict[str, Any]) -> Served:
        nonlocal most
        most = max(most, pa.total_allocated_bytes() - before)
        return echo(body)

    tally = answered(batch, Server(serve), shard_rows=10)

    assert tally.done == 160
    # One that reads for sending, one for parts, and one that takes over from an earlier one.
    assert 160 * 100_000 < one_reader < most < 4 * one_reader


def test_rows_are_rendered_ahead_within_a_byte_limit() -> None:
    size, out, most = 2**20, 0, 0

    def rows() -> Any:
        nonlocal out, most
        for row in range(200):
            out += 1
            most = max(most, out)
            yield RowRequest(row, b'{"messages":[{"content":"%s"}]}' % (b"x" * size))

    def record(_answer: Answer) -> None:
        nonlocal out
        out -= 1

    with engine_on(Server(echo)) as engine:
        tally = engine.answer(rows(), record)

    assert tally.done == 200
    assert most <= 16 + 2 * (AHEAD_BYTES // size + 1)


def test_window_of_large_rows_is_bounded_by_bytes() -> None:
    size, read, most = 2**20, 0, 0

    def rows() -> Any:
        nonlocal read
        for row in range(300):
            read += 1
            yield RowRequest(row, b"%06d" % row + b"x" * size)

    for sent, _ in enumerate(by_prefix(rows(), Frame(b"", b"")), 1):
        most = max(most, read - sent)

    assert read == 300
    assert most <= 2 * (WINDOW_BYTES // size + 1)


def test_answers_are_written_before_more_is_sent_also_in_calibration(
    tmp_path: Path,
) -> None:
    batch = batch_of(tmp_path, [f"row {row}" for row in range(300)])
    (shard,) = plan_shards(batch.dataset.row_groups)
    path, seen = batch.paths.journal(shard.index), list[Answer]()
    behind: list[int] = []

    def serve(body: dict[str, Any]) -> Served:
        behind.append(len(server.bodies) - (path.read_bytes().count(b"\n") - 1))
        return echo(body)

    server = Server(serve)
    with (
        engine_on(server) as engine,
        Journal(path, fingerprint=batch.fingerprint, shard=shard) as journal,
    ):
        send_rows(batch, shard, frozenset(range(100)), journal, engine, seen.append)

    assert sorted(answer.row for answer in seen) == list(range(100, 300))
    assert max(behind) == 16


def test_slow_disk_bounds_the_requests_sent(
    tmp_path: Path,
) -> None:
    behind, answer_bytes = 2**20, 50_000
    server = Server(lambda _body: said("x" * answer_bytes))
    sync, grown = SYSTEM.sync_data, [0]

    def slow(file: int) -> None:
        began = os.fstat(file).st_size
        at = -1
        while at != (at := len(server.bodies)):  # Until nothing more is sent.
            time.sleep(0.05)
        grown.append(os.fstat(file).st_size - began)
        sync(file)

    disk = Disk(system=replace(SYSTEM, sync_data=slow), behind_bytes=behind)
    batch = replace(batch_of(tmp_path, [f"row {row}" for row in range(2_000)]), disk=disk)

    tally = answered(batch, server, shard_rows=2_000)

    assert tally.done == len(server.bodies) == 2_000
    # Rows queued before the disk fell behind are still sent: 16 in flight and 272 waiting.
    assert max(grown) <= behind + (16 + 272 + 64) * (answer_bytes + 200)
    assert sum(grown) > 0
