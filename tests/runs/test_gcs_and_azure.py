"""Whole runs from and to Google Cloud Storage and Azure: concurrent, killed, and resumed."""

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.gcs_server import gcs_server
from tests.support.machine import MODEL, Machine, Process
from tests.support.wait import wait_until
from together_emulator import FaultRule

CHAT = "/v1/chat/completions"


@pytest.fixture
def gcs() -> Iterator[Any]:
    """A server of GCS with an empty bucket."""
    with gcs_server() as server:
        yield server


class Bucket:
    """A store with an input, and a prefix for the output."""

    def __init__(self, server: Any, protocol: str, machine: Machine) -> None:
        self.server = server
        self.prefix = f"{os.urandom(4).hex()}/run/"
        self.output = f"{protocol}://bucket/{self.prefix.rstrip('/')}"
        name = f"{os.urandom(4).hex()}/in.parquet"
        server.put(name, machine.input.read_bytes())
        self.input = f"{protocol}://bucket/{name}"
        machine.env.update(server.env)

    def committed(self) -> int:
        """Return how many shards the manifest at the store calls done."""
        name = f"{self.prefix}_mayfly/manifest.json"
        if name not in self.server.names(self.prefix):
            return 0
        return len(orjson.loads(self.server.content(name))["done"])

    def table(self) -> pa.Table:
        """Return the parts as one table."""
        names = sorted(self.server.names(f"{self.prefix}part-"))
        return pa.concat_tables(pq.read_table(io.BytesIO(self.server.content(n))) for n in names)


@pytest.fixture(params=["gcs", "azure"])
def bucket(request: pytest.FixtureRequest, machine: Machine) -> Bucket:
    """One store after another."""
    server = request.getfixturevalue(request.param)
    return Bucket(server, {"gcs": "gs", "azure": "az"}[request.param], machine)


Start = Callable[..., Process]


@pytest.fixture
def start(machine: Machine, bucket: Bucket) -> Start:
    """Start a run of three shards of eight rows from and into the bucket."""

    def started(home: Path | None = None) -> Process:
        machine.env["MAYFLY_HOME"] = str(home or machine.home)
        return machine.command(
            *("run", bucket.input, "--model", MODEL, "--output", bucket.output, "--yes"),
            *("--concurrency", "4", "--shard-rows", "8"),
        )

    return started


def test_run_is_the_only_one_of_its_output_and_resumed_after_it_was_killed(
    machine: Machine, bucket: Bucket, start: Start, tmp_path: Path
) -> None:
    machine.emulator.use_faults(
        FaultRule(action="hang_before", path=f"^{CHAT}$", nth=tuple(range(13, 100)))
    )
    run = start()
    wait_until(lambda: bucket.committed() == 1 or not run.alive, "a shard at the store")
    assert run.alive, run.text
    second = start(home=tmp_path / "other")
    assert second.wait() == 2, second.text
    assert f"output {bucket.output} is in use by process {run.pid}" in second.text
    run.kill_all()
    machine.emulator.use_faults()
    before = sum(call.path == CHAT for call in machine.emulator.calls())
    # The age of a lock can be changed at one of the servers; the other's owner comes back.
    elsewhere = hasattr(bucket.server, "age")
    if elsewhere:
        bucket.server.age(f"{bucket.prefix}_mayfly/lock.json", 120)

    again = start(home=tmp_path / "other" if elsewhere else None)

    assert again.wait() == 0, again.text
    sent = sum(call.path == CHAT for call in machine.emulator.calls()) - before
    assert sent == 24 - (8 if elsewhere else 12)
    table = bucket.table()
    assert table["n"].to_pylist() == list(range(24))
    assert table["response"].null_count == 0
    kept = {name.rpartition("/")[2] for name in bucket.server.names(f"{bucket.prefix}_mayfly/")}
    assert {"manifest.json", "report.json", "report.html"} <= kept
    assert not kept & {"lock.json", "lease.json", ".clock"}
    machine.await_gone()
