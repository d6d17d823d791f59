"""Runs that ended between their last answer and their parts: the next writes those, and no more."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mayfly.storage.journal import Journal
from mayfly.storage.manifest_store import load_manifest
from mayfly.storage.parts import read_answers
from tests.support.machine import Machine
from tests.support.wait import wait_until
from together_emulator import FaultRule

SHARDS = ("--shard-rows", "8")
DEDUPE = (*SHARDS, "--dedupe", "--temperature", "0")
POISON = FaultRule(
    action="status", path="^/v1/chat", body="Question 9 ", status=422, code="bad", message="no"
)


def part(machine: Machine, index: int) -> Path:
    return machine.output / f"part-{index:06d}.parquet"


def journal(machine: Machine, index: int) -> Path:
    return machine.output / "_mayfly" / "journal" / f"shard-{index:06d}.jsonl"


def back_to_journals(machine: Machine, *indices: int, instead: bytes | None = None) -> None:
    """Make the output that of a run killed when these shards' answers were in journals only.

    Args:
        instead: What the part had before; None is no part.
    """
    manifest = load_manifest(machine.output / "_mayfly" / "manifest.json")
    assert manifest is not None
    for index in indices:
        answers = read_answers(part(machine, index)).values()
        shard = manifest.shards[index]
        with Journal(
            journal(machine, index), fingerprint=manifest.fingerprint, shard=shard
        ) as kept:
            for answer in answers:
                # A copy of another row's answer is in no journal.
                if answer.attempts and (instead is None or answer.row == 9):
                    kept.append(answer)
        part(machine, index).unlink()
        if instead is not None:
            part(machine, index).write_bytes(instead)


def planned(machine: Machine, *options: str) -> dict[str, object]:
    plan = machine.command(
        *("plan", str(machine.input), "--model", machine.model, "--output", str(machine.output)),
        *("--concurrency", str(machine.concurrency), *options, "--json"),
    )
    assert plan.wait() == 0, plan.text
    found: dict[str, object] = plan.json
    return found


def assert_next_run_only_writes(machine: Machine, *options: str, code: int = 0) -> None:
    """A plan says that nothing is left, and a run sends nothing, whatever the limits."""
    machine.env |= {"MAYFLY_MONTHLY_BUDGET_USD": "0"}
    calls = len(machine.emulator.calls())

    plan = planned(machine, *options)
    run = machine.run(*options, "--max-cost", "0.01")

    assert plan["finished"]
    assert plan["workload"]["rows"] == 0  # type: ignore[index]
    assert plan["estimated_usd"] is None
    assert run.wait() == code, run.text
    assert "no rows were left to send; no endpoint was created" in run.text
    made = machine.emulator.calls()[calls:]
    assert {(call.method, call.path) for call in made} == {("GET", "/v3/whoami")}
    assert pq.read_table(machine.output)["n"].to_pylist() == list(range(machine.rows))
    assert not list((machine.output / "_mayfly" / "journal").glob("*.jsonl"))


def assert_parts_come_back(machine: Machine, *shards: int, options: tuple[str, ...]) -> None:
    """A run whose parts are lost has the same ones after the next run."""
    assert machine.run(*options).wait() == 0
    before = pq.read_table(machine.output)
    back_to_journals(machine, *shards)

    assert_next_run_only_writes(machine, *options)

    assert pq.read_table(machine.output).equals(before)


@pytest.mark.parametrize(
    ("shards", "options"),
    [
        ((0, 1, 2), SHARDS),
        ((1,), SHARDS),
        ((0, 1, 2), (*SHARDS, "--incremental")),
        ((0, 1, 2), (*SHARDS, "--retry-failed")),
        ((0, 1), (*SHARDS, "--runner", "processes")),
    ],
)
def test_next_run_writes_the_parts_and_creates_nothing(
    machine: Machine, shards: tuple[int, ...], options: tuple[str, ...]
) -> None:
    assert_parts_come_back(machine, *shards, options=options)


def test_run_whose_part_cannot_be_written_needs_no_second_endpoint(machine: Machine) -> None:
    last = FaultRule(action="delay", path="^/v1/chat", body="Question 23 ", delay_s=1.5)
    machine.emulator.use_faults(last)
    run = machine.run()
    path = journal(machine, 0)
    wait_until(
        lambda: not run.alive or (path.exists() and path.read_bytes().count(b"\n") > 1), "an answer"
    )
    # A file cannot replace a folder.
    part(machine, 0).mkdir()
    assert run.wait() == 1, run.text
    assert "cannot be written" in run.text
    part(machine, 0).rmdir()

    assert_next_run_only_writes(machine)

    machine.assert_complete()


@pytest.mark.parametrize("shards", [(0, 1, 2), (2,)])
def test_parts_of_duplicates_are_written_without_an_endpoint(
    machine: Machine, shards: tuple[int, ...]
) -> None:
    prompts = [f"Question {row % 10} of {machine.folder.name}" for row in range(machine.rows)]
    pq.write_table(pa.table({"n": range(machine.rows), "prompt": prompts}), machine.input)
    assert_parts_come_back(machine, *shards, options=DEDUPE)


def test_failed_rows_without_a_part_are_written_and_then_retried(machine: Machine) -> None:
    machine.emulator.use_faults(POISON)
    assert machine.run(*SHARDS).wait() == 3
    back_to_journals(machine, 1)
    assert not planned(machine, "--retry-failed")["finished"]

    assert_next_run_only_writes(machine, *SHARDS, code=3)

    machine.env |= {"MAYFLY_MONTHLY_BUDGET_USD": None}
    machine.emulator.use_faults()
    retried = machine.run("--retry-failed")
    assert retried.wait() == 0, retried.text
    machine.assert_complete()
    assert machine.answered() == machine.rows


def test_retried_rows_without_a_part_are_merged_without_an_endpoint(machine: Machine) -> None:
    machine.emulator.use_faults(POISON)
    assert machine.run(*SHARDS).wait() == 3
    failed = part(machine, 1).read_bytes()
    machine.emulator.use_faults()
    assert machine.run("--retry-failed").wait() == 0
    back_to_journals(machine, 1, instead=failed)

    assert_next_run_only_writes(machine, "--retry-failed")

    machine.assert_complete()


def test_plan_of_an_output_that_lost_a_part_is_not_finished(machine: Machine) -> None:
    assert machine.run(*SHARDS).wait() == 0
    part(machine, 1).unlink()

    plan = planned(machine)

    assert not plan["finished"]
    assert plan["workload"]["rows"] == 8  # type: ignore[index]


def test_finished_output_needs_no_hardware(machine: Machine) -> None:
    assert machine.run().wait() == 0
    machine.emulator.use_faults(
        FaultRule(action="status", path="supported-models|instance-types", status=403)
    )

    assert_next_run_only_writes(machine)
