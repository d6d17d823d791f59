"""Runs killed midway and started again: each row once, and little sent twice."""

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.resend import killed_and_resumed
from tests.support.machine import MODEL, Machine
from tests.support.wait import wait_until
from together_emulator import FaultRule
from together_emulator.inference.responses import embedding_of

EMBEDS = "intfloat/multilingual-e5-large-instruct"
TEXTS = 64
"""Rows that travel in one request for embeddings."""


def journalled(machine: Machine) -> int:
    """Return how many answers the journals hold."""
    journals = (machine.output / "_mayfly" / "journal").glob("*.jsonl")
    lines = [line for path in journals for line in path.read_bytes().splitlines()]
    return sum(line[9:10] == b"[" for line in lines)


def requests(machine: Machine, path: str) -> int:
    return sum(call.path == path for call in machine.emulator.calls())


def killed_with_some_answers(
    machine: Machine,
    path: str,
    *options: str,
    rows: int,
    answered: int,
    model: str = MODEL,
    rows_each: int = 1,
) -> tuple[int, pa.Table]:
    """Kill a run when so many requests are answered, and no more will be; start it again.

    Returns what the second run sent, and what came of both.
    """
    prompts = [f"Question {row} of {machine.folder.name}" for row in range(rows)]
    pq.write_table(pa.table({"n": range(rows), "prompt": prompts}), machine.input)
    later = tuple(range(answered + 1, answered + 100))
    machine.emulator.use_faults(FaultRule(action="hang_before", path=f"^{path}$", nth=later))
    command = (
        *("run", str(machine.input), "--model", model, "--output", str(machine.output), "--yes"),
        *("--concurrency", "4", *options),
    )
    run = machine.command(*command)
    wait_until(lambda: journalled(machine) == answered * rows_each or not run.alive, "answers")
    assert run.alive, run.text

    run.kill_all()
    machine.emulator.use_faults()
    before = requests(machine, path)
    again = machine.command(*command)

    assert again.wait() == 0, again.text
    table = pq.read_table(machine.output)
    assert table["n"].to_pylist() == list(range(rows))
    assert table["error"].null_count == rows
    return requests(machine, path) - before, table


def test_completions_of_killed_run_are_paid_for_once(machine: Machine) -> None:
    path = "/v1/completions"

    sent, table = killed_with_some_answers(machine, path, "--completions", rows=24, answered=10)

    assert sent == 24 - 10
    assert requests(machine, "/v1/chat/completions") == 0
    assert table["response"].null_count == 0
    assert set(table["attempts"].to_pylist()) == {1}


def test_parsed_answers_of_killed_run_are_those_paid_for(
    machine: Machine,
) -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"kind": {"$ref": "#/$defs/kind"}, "score": {"type": "number"}},
        "required": ["kind", "score"],
        "additionalProperties": False,
        "$defs": {"kind": {"enum": ["a", "b"]}},
    }
    path = machine.folder / "schema.json"
    path.write_bytes(orjson.dumps(schema))

    sent, table = killed_with_some_answers(
        machine, "/v1/chat/completions", "--schema", str(path), rows=24, answered=10
    )

    assert sent == 24 - 10
    assert str(table.schema.field("parsed").type) == "struct<kind: string, score: double>"
    answers = [orjson.loads(text) for text in table["response"].to_pylist()]
    assert table["parsed"].to_pylist() == answers


def test_embeddings_of_killed_run_belong_to_their_texts(machine: Machine) -> None:
    sent, table = killed_with_some_answers(
        *(machine, "/v1/embeddings", "--embed", "prompt"),
        model=EMBEDS,
        rows=5 * TEXTS,
        answered=2,
        rows_each=TEXTS,
    )

    assert sent == 3
    assert str(table.schema.field("embedding").type).startswith("list<")
    found = np.array(table["embedding"].to_pylist(), dtype=np.float32)
    prompts = table["prompt"].to_pylist()
    expected = [embedding_of(EMBEDS, prompt, 1024) for prompt in prompts]
    assert np.array_equal(found, np.array(expected, dtype=np.float32))


def test_killed_run_repeats_at_most_what_was_in_flight(tmp_path: Path) -> None:
    found = killed_and_resumed(tmp_path, rows=1_500, in_flight=32, kills=2, median_s=0.05)

    assert found["most_lost_by_one_kill"] <= 32
    assert found["sent_twice"] <= 2 * 32
    assert found["answered"] == 1_500
    assert found["in_order"]
