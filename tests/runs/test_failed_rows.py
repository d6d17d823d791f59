"""Rows with an error: typed, kept as dead letters, and sent again only with --retry-failed."""

import hashlib
import shlex
import shutil
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from tests.support.machine import MODEL, Machine
from together_emulator import FaultRule

POISON = FaultRule(
    action="status", path="^/v1/chat", body="Question (3|17) ", status=422, code="bad", message="no"
)


def chat_requests(machine: Machine) -> int:
    return sum(call.path.startswith("/v1/chat/") for call in machine.emulator.calls())


def dead_letters(machine: Machine) -> list[dict[str, object]]:
    table = pq.read_table(machine.output / "_mayfly" / "dead_letters.parquet")
    return list(table.to_pylist())


def parts(machine: Machine) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(machine.output.glob("part-*"))}


def with_a_null_prompt(machine: Machine) -> None:
    table = pq.read_table(machine.input)
    prompts = table["prompt"].to_pylist()
    prompts[5] = None
    pq.write_table(pa.table({"n": table["n"], "prompt": prompts}), machine.input)


def test_failing_rows_are_dead_letters_and_can_be_retried(machine: Machine) -> None:
    with_a_null_prompt(machine)
    machine.emulator.use_faults(POISON)

    first = machine.run("--shard-rows", "8")

    assert first.wait() == 3, first.text
    table = pq.read_table(machine.output)
    errors = dict(zip(table["n"].to_pylist(), table["error"].to_pylist(), strict=True))
    assert {n: error for n, error in errors.items() if error} == {
        3: "invalid_request: HTTP 422 bad after 1 attempt: no",
        5: "null_prompt: not sent: column prompt is null",
        17: "invalid_request: HTTP 422 bad after 1 attempt: no",
    }
    body = orjson.dumps(
        {
            "model": MODEL,
            "messages": [{"role": "user", "content": f"Question 3 of {machine.folder.name}"}],
        }
    )
    kept = dead_letters(machine)
    assert kept[0] == {
        "row": 3,
        "class": "invalid_request",
        "status": 422,
        "code": "bad",
        "attempts": 1,
        "message": "no",
        "digest": hashlib.sha256(body).hexdigest(),
    }
    assert [(dead_letter["row"], dead_letter["class"]) for dead_letter in kept[1:]] == [
        (5, "null_prompt"),
        (17, "invalid_request"),
    ]
    before, requests_before = parts(machine), chat_requests(machine)

    # The server works again: only the two rows that can be sent are sent.
    machine.emulator.use_faults()
    # The command that the report shows.
    shown = shlex.split(machine.report()["retry_command"])
    assert (shown[0], shown[-1]) == ("mayfly", "--retry-failed")
    again = machine.command(*shown[1:], "--yes")

    assert again.wait() == 3, again.text
    assert chat_requests(machine) - requests_before == 2
    table = pq.read_table(machine.output)
    assert [n for n, e in zip(table["n"], table["error"], strict=True) if e.is_valid] == [
        pa.scalar(5)
    ]
    assert [dead_letter["row"] for dead_letter in dead_letters(machine)] == [5]
    assert parts(machine)["part-000001.parquet"] == before["part-000001.parquet"]

    # What is left cannot be sent: nothing is rented for it.
    created = sum(method == "POST" for method, _ in machine.management())
    last = machine.run("--retry-failed")

    assert last.wait() == 3, last.text
    assert sum(method == "POST" for method, _ in machine.management()) == created


def test_lost_dead_letters_are_written_again(machine: Machine) -> None:
    with_a_null_prompt(machine)
    assert machine.run("--shard-rows", "8").wait() == 3
    path = machine.output / "_mayfly" / "dead_letters.parquet"
    kept = dead_letters(machine)
    path.unlink()

    assert machine.run().wait() == 3

    assert dead_letters(machine) == kept


def test_request_that_fails_for_every_row_stops_the_run_early(
    machine: Machine, tmp_path: Path
) -> None:
    table = pa.table({"n": range(2000), "prompt": [f"Question {row}" for row in range(2000)]})
    pq.write_table(table, machine.input)
    machine.emulator.use_faults(
        FaultRule(action="status", path="^/v1/chat", status=400, message="seed is not supported")
    )

    run = machine.run()

    assert run.wait() == 1, run.text
    assert "seed is not supported" in run.text
    assert "fix the request" in run.text
    assert chat_requests(machine) < 200
    assert not machine.emulator.has_endpoints
    shutil.rmtree(tmp_path, ignore_errors=True)
