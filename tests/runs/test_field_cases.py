"""Whole runs over inputs and responses that broke other tools.

Each test names the public report of its kind.
"""

import datetime as dt
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mayfly.models.job import Job
from mayfly.models.timeouts import Timeouts
from mayfly.runs.environment import Environment
from mayfly.together.connection import Connection
from tests.support.machine import quick_emulator
from tests.support.marked_prompt_server import MarkedPromptServer
from tests.support.plain_run import FastClock, carry_out
from together_emulator import Emulator

MODEL = "Qwen/Qwen2.5-7B-Instruct"
ANSWER_SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
    "additionalProperties": False,
}


class Case:
    """A folder, an odd server, and runs from one to the other."""

    def __init__(self, server: MarkedPromptServer, emulator: Emulator, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.report: dict[str, Any] = {}
        self._emulator = emulator

    def _environment(self, url: str) -> Environment:
        return Environment(
            connection=Connection.from_env(
                {"TOGETHER_BASE_URL": url, "TOGETHER_API_KEY": self._emulator.key}
            ),
            folders={"MAYFLY_HOME": str(self.folder / "home")},
            timeouts=Timeouts(grace_s=0.5),
            clock=FastClock(1.0),
        )

    def write(self, name: str, columns: dict[str, Any], **options: Any) -> Path:
        path = self.folder / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), path, **options)
        return path

    def run(self, source: Path, *, plain: bool = False, **groups: Any) -> pa.Table:
        """Run a job and return its results.

        Args:
            plain: Whether to send to the emulator directly, which is faster.
        """
        job = {"input": str(source), "model": MODEL, "output": str(self.folder / "out")}
        url = self._emulator.url if plain else self.server.url
        self.report, stopped = carry_out(Job.model_validate(job | groups), self._environment(url))
        assert stopped is None
        return pq.read_table(self.folder / "out")

    def prompts(self) -> list[Any]:
        """Return the prompts that were sent, in any order."""
        return [body["messages"][-1]["content"] for body in self.server.bodies]


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[MarkedPromptServer, Emulator]]:
    """An odd server before an emulator, for all cases; each begins with no requests seen."""
    with quick_emulator() as emulator, MarkedPromptServer(emulator.url) as odd:
        yield odd, emulator


@pytest.fixture
def case(servers: tuple[MarkedPromptServer, Emulator], tmp_path: Path) -> Case:
    odd, emulator = servers
    odd.bodies.clear()
    return Case(odd, emulator, tmp_path)


def raw_strings(values: list[bytes]) -> pa.Array:
    """Return a string column with unvalidated bytes, as many Parquet writers write it."""
    offsets = np.cumsum([0, *map(len, values)], dtype="int32")
    buffers = [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(b"".join(values))]
    return pa.Array.from_buffers(pa.string(), len(values), buffers)


def test_text_that_is_not_utf8_is_an_error_of_its_row(case: Case) -> None:
    # Daft 2845, arrow 29635: further in than any preview, sample or first batch goes.
    texts = [b"What is %d+2?" % row for row in range(5000)]
    texts[4500] = "café?".encode("latin-1")
    source = case.write(
        "in", {"id": list(range(5000)), "prompt": raw_strings(texts)}, row_group_size=5000
    )

    found = case.run(source, plain=True, sampling={"max_tokens": 2}).select(["id", "error"])

    errors = {row["id"]: row["error"] for row in found.to_pylist() if row["error"]}
    assert list(errors) == [4500]
    assert "not UTF-8" in errors[4500]
    assert case.report["rows"]["failed"] == 1


def test_prompt_column_of_messages_is_sent_as_messages(case: Case) -> None:
    # trl 4147
    messages = [
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "What is 2+2?"},
        ],
        [{"role": "user", "content": "Name a colour."}],
    ]

    found = case.run(case.write("in", {"prompt": messages}))

    assert found["response"].null_count == 0
    sent = sorted((body["messages"] for body in case.server.bodies), key=len, reverse=True)
    assert sent == messages


def test_nulls_that_arrow_added_are_not_sent(case: Case) -> None:
    # unsloth-zoo 372
    parts = [
        {"type": "text", "text": "Look", "image_url": None},
        {"type": "image_url", "text": None, "image_url": {"url": "https://a.example/a.png"}},
    ]
    source = case.write("in", {"messages": [[{"role": "user", "content": parts}]]})

    case.run(source, model="Qwen/Qwen3-VL-8B-Instruct")

    assert b"null" not in orjson.dumps(case.server.bodies)
    [content] = case.prompts()
    assert content == [
        {"type": "text", "text": "Look"},
        {"type": "image_url", "image_url": {"url": "https://a.example/a.png"}},
    ]


def test_columns_that_are_no_identifiers_are_read_by_name(case: Case) -> None:
    # fms-hf-tuning 438
    names = {"Question Text": ["What is 2+2?"], "user-id": [1], "meta.source": ["a"]}

    found = case.run(
        case.write("in", names),
        prompt={"template": "{{ row['Question Text'] }} {{ row['meta.source'] }}"},
    )

    assert case.prompts() == ["What is 2+2? a"]
    assert found.column_names[:3] == list(names)


def test_int96_timestamps_far_in_the_future_are_unchanged(case: Case) -> None:
    # arrow 44112, Daft 1215
    moments = [dt.datetime(9999, 12, 31), dt.datetime(2024, 1, 1)]  # noqa: DTZ001 - a wall clock
    columns = {"prompt": ["a", "b"], "valid_to": pa.array(moments, pa.timestamp("us"))}
    source = case.write("in", columns, use_deprecated_int96_timestamps=True)

    found = case.run(source)

    assert found["valid_to"].to_pylist() == moments


def test_partition_folders_are_a_column_in_template_and_output(case: Case) -> None:
    # Daft 2957, aws-sdk-pandas 764
    for year in (2023, 2024):
        case.write(f"in/year={year}/part-0", {"prompt": [f"An event of {year}?"]})

    found = case.run(case.folder / "in", prompt={"template": "{{ year }}: {{ prompt }}"})

    assert found["year"].to_pylist() == [2023, 2024]
    assert sorted(case.prompts()) == ["2023: An event of 2023?", "2024: An event of 2024?"]


def test_files_with_null_and_string_in_one_column_are_one_table(case: Case) -> None:
    # datasets 8591, ray 48102
    case.write("in/a", {"prompt": ["a", "b"], "note": pa.nulls(2)})
    case.write("in/b", {"prompt": ["c"], "note": ["x"]})

    found = case.run(case.folder / "in")

    assert found["note"].to_pylist() == [None, None, "x"]
    assert found["response"].null_count == 0


def test_odd_answers_are_kept_or_typed_errors_and_sent_once(case: Case) -> None:
    # litellm 39618, dstack 2228, vllm 26224, mindcraft 789, ray 58091, rllm 879
    marks = ["plain", "usage-text", "finish-number", "thinking", "thinking-cut"]
    marks += ["tool-call", "refusal", "half-pair"]
    source = case.write("in", {"prompt": [f"@{mark}@ row" for mark in marks]})

    found = case.run(source)

    row: dict[str, Any] = dict(zip(marks, found.to_pylist(), strict=True))
    assert row["usage-text"]["response"] == "use"
    assert row["finish-number"]["response"] == "fin"
    assert (row["thinking"]["response"], row["thinking"]["reasoning"]) == ("4", "2 and 2 are 4")
    assert "cut_while_thinking" in row["thinking-cut"]["error"]
    assert row["thinking-cut"]["reasoning"] == "let me see ..."
    assert orjson.loads(row["tool-call"]["tool_calls"])[0]["function"]["name"] == "weather"
    assert row["tool-call"]["error"] is None
    assert "I cannot help with that." in row["refusal"]["error"]
    assert row["half-pair"]["response"] == "smile \ufffd cut"
    assert all(case.server.requests_with(f"@{mark}@") == 1 for mark in marks)
    # A later command never trips over the journal.
    again = case.run(source)
    assert len(case.server.bodies) == len(marks)
    assert again["response"].equals(found["response"])


@pytest.mark.parametrize(
    "schema",
    [ANSWER_SCHEMA, {"name": "answer", "strict": True, "schema": ANSWER_SCHEMA}],
    ids=["bare", "wrapped"],
)
def test_json_in_a_fence_or_after_thinking_is_parsed(case: Case, schema: dict[str, Any]) -> None:
    # python-genai 1608, oumi 2430
    source = case.write("in", {"prompt": ["@fenced@ row", "@thought-first@ row"]})

    found = case.run(source, sampling={"json_schema": orjson.dumps(schema).decode()})

    assert [one["answer"] for one in found["parsed"].to_pylist()] == ["4", "4"]
    assert found["attempts"].to_pylist() == [1, 1]
    for body in case.server.bodies:
        assert body["response_format"]["json_schema"]["schema"] == ANSWER_SCHEMA


def test_overload_loses_no_row_and_costs_no_attempt(case: Case) -> None:
    # oumi 2516
    source = case.write("in", {"prompt": [f"@storm@ {row}" for row in range(40)]})

    found = case.run(source, limits={"row_attempts": 1, "concurrency": 8})

    assert found["response"].null_count == 0
    assert len(case.server.bodies) > 40, "no storm"


def test_retry_after_is_waited_out(case: Case) -> None:
    # go-retryablehttp 296; an hour of it in simulated time: tests/inference/test_overload.py
    source = case.write("in", {"prompt": ["@retry-after@", "plain"]})
    began = time.monotonic()

    found = case.run(source, limits={"row_attempts": 1})

    assert found["response"].null_count == 0
    assert case.server.requests_with("@retry-after@") == 2
    assert time.monotonic() - began >= 1
