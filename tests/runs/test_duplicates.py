"""Identical requests of one job are sent once, over shards, kills and retries."""

import pyarrow as pa
import pyarrow.parquet as pq

from tests.support.machine import Machine
from tests.support.wait import wait_until
from together_emulator import FaultRule

DEDUPE = ("--dedupe", "--temperature", "0", "--shard-rows", "25")


def asked(machine: Machine) -> int:
    return sum(call.path.startswith("/v1/chat/") for call in machine.emulator.calls())


def answers_kept(machine: Machine) -> int:
    """Return how many answers that were paid for a killed run has left on the disk."""
    # A shard whose part is committed no longer needs its journal.
    done = {path.stem[-6:] for path in machine.output.glob("part-*.parquet")}
    journals = (machine.output / "_mayfly" / "journal").glob("*.jsonl")
    left = [path for path in journals if path.stem[-6:] not in done]
    records = [line for path in left for line in path.read_bytes().splitlines(keepends=True)]
    journalled = sum(line[9:10] == b"[" and line.endswith(b"\n") for line in records)
    parts = machine.output.glob("part-*.parquet")
    return journalled + sum(sum(pq.read_table(part)["attempts"].to_pylist()) for part in parts)


def test_identical_requests_are_sent_once_even_when_run_is_killed(machine: Machine) -> None:
    kinds = [(7 * row) % 60 for row in range(200)]
    prompts = [f"Question {kind} of {machine.folder.name}" for kind in kinds]
    pq.write_table(pa.table({"n": range(200), "prompt": prompts}), machine.input)
    refused = machine.run("--dedupe")
    assert refused.wait() == 2
    assert "set --temperature to 0" in refused.text
    machine.emulator.use_faults(
        FaultRule(action="status", path="^/v1/chat", body="Question 9 of", status=422, message="no")
    )

    run = machine.run(*DEDUPE)
    wait_until(lambda: machine.answered() >= 25, "25 answers")
    run.kill_all()
    kept, before = answers_kept(machine), asked(machine)
    again = machine.run(*DEDUPE)

    assert again.wait() == 3, again.text
    assert asked(machine) - before == 60 - kept
    table = pq.read_table(machine.output)
    assert table["n"].to_pylist() == list(range(200))
    output: dict[int, set[str | None]] = {}
    for kind, response in zip(kinds, table["response"].to_pylist(), strict=True):
        output.setdefault(kind, set()).add(response)
    assert all(len(answers) == 1 for answers in output.values())
    assert output[9] == {None}
    assert len(set.union(*output.values())) == 60
    assert sum(table["attempts"].to_pylist()) == 60

    # Of the duplicates that failed, one is sent again.
    machine.emulator.use_faults()
    before = asked(machine)
    retry = machine.run(*DEDUPE, "--retry-failed")

    assert retry.wait() == 0, retry.text
    assert asked(machine) == before + 1
    table = pq.read_table(machine.output)
    assert table["response"].null_count == 0
    assert len(set(table["response"].to_pylist())) == 60
