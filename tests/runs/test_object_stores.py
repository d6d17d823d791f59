"""Whole runs whose output is on S3, over HTTP: killed, concurrent, and cut off."""

import io
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.machine import MODEL, Forwarder, Machine, Process
from tests.support.object_stores import S3Server, s3_server
from tests.support.wait import wait_until
from together_emulator import FaultRule

OUTPUT = "s3://bucket/answers/run1"
PREFIX = "answers/run1/"
CHAT = "/v1/chat/completions"


@pytest.fixture
def s3() -> Iterator[S3Server]:
    """A server of S3 with an empty bucket."""
    with s3_server() as server:
        yield server


@pytest.fixture
def machine(machine: Machine, s3: S3Server) -> Machine:
    """A machine that finds the server."""
    machine.env.update(s3.env)
    return machine


def start(machine: Machine, *options: str, home: Path | None = None) -> Process:
    """Start a run of three shards of eight rows into the bucket."""
    machine.env["MAYFLY_HOME"] = str(home or machine.home)
    return machine.command(
        *("run", str(machine.input), "--model", MODEL, "--output", OUTPUT, "--yes"),
        *("--concurrency", "4", "--shard-rows", "8", *options),
    )


def sent(machine: Machine) -> int:
    """Return how many rows were sent to the endpoint."""
    return sum(call.path == CHAT for call in machine.emulator.calls())


def table_of(s3: S3Server) -> pa.Table:
    """Return the parts in the bucket as one table."""
    names = sorted(name for name in s3.names(PREFIX) if "/_mayfly/" not in name)
    return pa.concat_tables(pq.read_table(io.BytesIO(s3.content(name))) for name in names)


def killed_after_a_shard(machine: Machine, s3: S3Server) -> None:
    """Kill a run that has 12 answers: a shard of eight is at the store, four are journalled."""
    machine.emulator.use_faults(
        FaultRule(action="hang_before", path=f"^{CHAT}$", nth=tuple(range(13, 100)))
    )
    run = start(machine)

    def committed() -> bool:
        name = f"{PREFIX}_mayfly/manifest.json"
        return name in s3.names() and len(orjson.loads(s3.content(name))["done"]) == 1

    wait_until(lambda: committed() or not run.alive, "a shard at the store")
    assert run.alive, run.text
    assert machine.answered() == 12
    run.kill_all()
    machine.emulator.use_faults()


def test_run_into_a_bucket_takes_few_requests(machine: Machine, s3: S3Server) -> None:
    run = start(machine)

    assert run.wait() == 0, run.text
    table = table_of(s3)
    assert table["n"].to_pylist() == list(range(24))
    assert table["response"].null_count == 0
    kept = {name.removeprefix(f"{PREFIX}_mayfly/") for name in s3.names(f"{PREFIX}_mayfly/")}
    assert {"manifest.json", "report.json", "report.html"} <= kept
    assert not kept & {"lock.json", "lease.json", ".clock"}
    everything = b"".join(s3.content(name) for name in s3.names()) + run.text.encode()
    assert b"secret-of-the-store" not in everything
    assert len(s3.requests) <= 30, s3.requests


def test_killed_run_is_resumed_elsewhere_from_its_finished_shards(
    machine: Machine, s3: S3Server, tmp_path: Path
) -> None:
    killed_after_a_shard(machine, s3)
    finished = {name.rpartition("/")[2] for name in s3.names(f"{PREFIX}part-")}
    before = sent(machine)

    early = start(machine, home=tmp_path / "other")
    assert early.wait() == 2, early.text
    assert "in use by process" in early.text

    s3.age(f"{PREFIX}_mayfly/lock.json", 120)
    again = start(machine, home=tmp_path / "other")

    assert again.wait() == 0, again.text
    assert sent(machine) - before == 24 - 8
    assert table_of(s3)["n"].to_pylist() == list(range(24))
    # The manifest has its sums, and the report reads its columns by ranges.
    parts = {path.name for path in (tmp_path / "other").rglob("part-*.parquet")}
    assert len(parts) == 2
    assert parts.isdisjoint(finished)
    report = orjson.loads(s3.content(f"{PREFIX}_mayfly/report.json"))
    assert report["per_row"]["attempts"] == {"1": 24}
    assert report["rows_not_read"] == 0
    machine.await_gone()
    status = machine.command("status", OUTPUT, "--json")
    assert status.wait() == 0, status.text
    assert status.json["rows"]["remaining"] == 0


def test_killed_run_is_resumed_on_its_machine_from_its_journals(
    machine: Machine, s3: S3Server
) -> None:
    killed_after_a_shard(machine, s3)
    before = sent(machine)

    again = start(machine)

    assert again.wait() == 0, again.text
    assert sent(machine) - before == 24 - 12
    assert table_of(s3)["n"].to_pylist() == list(range(24))


def test_interrupted_run_is_resumed_elsewhere_with_every_answer(
    machine: Machine, tmp_path: Path
) -> None:
    machine.emulator.use_faults(
        FaultRule(action="hang_before", path=f"^{CHAT}$", nth=tuple(range(13, 100)))
    )
    run = start(machine)
    wait_until(lambda: machine.answered() == 12 or not run.alive, "answers")
    run.signal(signal.SIGINT)
    assert run.wait() == 130, run.text
    machine.emulator.use_faults()
    machine.env["MAYFLY_HOME"] = str(tmp_path / "third")
    status = machine.command("status", OUTPUT, "--json")
    assert status.wait() == 0, status.text
    assert status.json["rows"]["done"] == 12
    before = sent(machine)

    again = start(machine, home=tmp_path / "other")

    assert again.wait() == 0, again.text
    assert sent(machine) - before == 24 - 12


def test_second_run_into_the_same_bucket_is_refused_and_creates_nothing(
    machine: Machine, tmp_path: Path
) -> None:
    machine.emulator.use_faults(
        FaultRule(action="hang_before", path=f"^{CHAT}$", nth=tuple(range(3, 100)))
    )
    first = start(machine)
    wait_until(lambda: machine.answered() == 2 or not first.alive, "the first run answers")
    created = sum(method == "POST" for method, _ in machine.management())

    second = start(machine, home=tmp_path / "other")

    assert second.wait() == 2, second.text
    assert f"output {OUTPUT} is in use by process {first.pid}" in second.text
    assert sum(method == "POST" for method, _ in machine.management()) == created
    assert first.alive
    first.kill_all()


def test_store_outage_is_reported_and_uploaded_by_the_next_run(
    machine: Machine, s3: S3Server
) -> None:
    way = Forwarder(s3.port)
    machine.env["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{way.port}"
    machine.emulator.use_faults(
        FaultRule(action="delay", path=f"^{CHAT}$", delay_s=3.0, nth=tuple(range(1, 9)))
    )
    run = start(machine)
    # Not before rows are sent: until then a missing store is a bad request.
    wait_until(lambda: sent(machine) or not run.alive, "a request")
    way.cut()

    assert run.wait() == 1, run.text
    machine.await_gone()
    assert "run the same command again on this machine to upload it" in run.text
    assert not [name for name in s3.names(PREFIX) if "/_mayfly/" not in name]

    way.resume()
    asked = sent(machine)
    again = start(machine)

    assert again.wait() == 0, again.text
    assert sent(machine) == asked
    assert table_of(s3)["n"].to_pylist() == list(range(24))
    way.cut()


def test_missing_bucket_is_refused_before_create(machine: Machine) -> None:
    run = machine.command(
        *("run", str(machine.input), "--model", MODEL, "--output", "s3://no-such-bucket/run"),
        "--yes",
    )

    assert run.wait() == 2, run.text
    assert "NoSuchBucket" in run.text
    assert not any(method == "POST" for method, _ in machine.management())


def test_store_that_hangs_does_not_delay_the_stop(machine: Machine, s3: S3Server) -> None:
    way = Forwarder(s3.port)
    machine.env["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{way.port}"
    machine.emulator.use_faults(
        FaultRule(action="hang_before", path=f"^{CHAT}$", nth=tuple(range(13, 100)))
    )
    run = start(machine)
    wait_until(lambda: sent(machine) or not run.alive, "a request")
    way.cut()
    with socket.create_server(("127.0.0.1", way.port)):  # It takes connections, and is silent.
        wait_until(lambda: machine.answered() == 12 or not run.alive, "answers")
        run.signal(signal.SIGINT)
        wait_until(lambda: machine.emulator.billing == 0, "end of billing")

        assert run.alive, run.text
        assert run.wait() == 130, run.text
    assert "run the same command again on this machine to upload it" in run.text
