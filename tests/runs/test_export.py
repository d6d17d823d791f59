"""An output exported as one file: every answer once, also in OpenAI batch format."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mayfly.models.errors import BadRequest, TerminalError
from mayfly.models.failures import INVALID_REQUEST, NULL_PROMPT, Failure
from mayfly.models.job import Job
from mayfly.models.manifest import Manifest
from mayfly.models.rows import Answer, Tally
from mayfly.models.shards import plan_shards
from mayfly.reporting.output_stats import read_results as output_stats
from mayfly.runs.results import batch_results, read_results
from mayfly.storage.export import Exported, Format, dumps, export, format_of, rows_of
from mayfly.storage.journal import Journal
from mayfly.storage.open_input import open_dataset
from mayfly.storage.parts import read_answers, write_part
from mayfly.storage.run_folder import RunFolder
from mayfly.storage.run_paths import RunPaths

ROWS = 30


def answer(row: int) -> Answer:
    if row == 3:
        return Answer(row, None, Failure(INVALID_REQUEST, "no such thing", 400, "bad", 1))
    if row == 4:
        return Answer(row, None, Failure(NULL_PROMPT, "body is null"))
    return Answer(row, f"answer {row}", None, "stop", 10, row, 0, 1, 0.5, tool_calls="[]")


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """A run over requests: its first shard has a part, its second a journal, its third nothing."""
    lines = [
        {"custom_id": f"r{i}", "url": "/v1/chat/completions", "body": {"messages": [i]}}
        for i in range(ROWS)
    ]
    source = tmp_path / "in.jsonl"
    source.write_text("\n".join(map(json.dumps, lines)))
    folder = tmp_path / "out"
    dataset = open_dataset(str(source), beside=folder / "_mayfly" / "input")
    shards = tuple(plan_shards(dataset.row_groups, shard_rows=10))
    manifest = Manifest(
        fingerprint="f" * 64,
        identity=Job(input=str(source), model="m", output=str(folder)).identity(),
        input=dataset.describe(),
        provider="p",
        shards=shards,
        created_at=1_700_000_000.0,
    )
    with RunFolder.open(str(folder), manifest, now=0.0) as run:
        answers = {row: answer(row) for row in range(10)}
        write_part(folder, shards[0], dataset, answers, fingerprint="f" * 64)
        with Journal(run.paths.journal(1), fingerprint="f" * 64, shard=shards[1]) as journal:
            for row in (12, 15):
                journal.append(answer(row))
    return folder


def exported(output: Path, file: Path, kind: Format | None = None) -> Exported:
    results = read_results(str(output), partial=True)
    return export(
        results.batches(),
        file,
        format_of(file, kind),
        folder=output,
        results=batch_results(results),
    )


def lines_of(path: Path | None) -> list[dict[str, Any]]:
    assert path is not None
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_unfinished_run_needs_partial(output: Path) -> None:
    with pytest.raises(BadRequest, match="20 rows have no part file yet; add --partial"):
        read_results(str(output), partial=False)
    with pytest.raises(BadRequest, match="is not the output of a run"):
        read_results(str(output.parent), partial=True)


def test_openai_batch_files_separate_results_and_errors(output: Path, tmp_path: Path) -> None:
    made = exported(output, tmp_path / "results.jsonl", "openai-batch")

    assert (made.rows, made.errors) == (12, 2)
    assert made.error_file == tmp_path / "results.errors.jsonl"
    results = lines_of(made.file)
    assert [line["custom_id"] for line in results] == [
        f"r{i}" for i in (0, 1, 2, 5, 6, 7, 8, 9, 12, 15)
    ]
    line = results[-1]
    assert set(line) == {"id", "custom_id", "response", "error"}
    assert line["error"] is None
    assert line["response"]["status_code"] == 200
    body = line["response"]["body"]
    assert body["choices"][0]["message"] == {
        "role": "assistant",
        "content": "answer 15",
        "tool_calls": [],
    }
    assert body["usage"]["total_tokens"] == 25
    refused, unsent = lines_of(made.error_file)
    assert refused["response"]["status_code"] == 400
    assert refused["response"]["body"]["error"]["message"] == "no such thing"
    assert refused["error"] == {"code": "bad", "message": "no such thing"}
    assert unsent["response"] is None
    assert unsent["error"]["code"] == "null_prompt"
    assert len({line["id"] for line in results}) == len(results)


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet"])
def test_exported_file_has_every_answer_once_in_input_order(
    output: Path, tmp_path: Path, name: str
) -> None:
    exported(output, tmp_path / name)

    file = tmp_path / name
    if name.endswith("jsonl"):
        rows = lines_of(file)
        assert rows[0]["body"] == {"messages": [0]}
    elif name.endswith("csv"):
        rows = list(csv.DictReader(file.read_text().splitlines()))
    else:
        rows = pq.read_table(file).to_pylist()
    assert [row["custom_id"] for row in rows] == [f"r{i}" for i in (*range(10), 12, 15)]
    assert [row["response"] or None for row in rows[2:6]] == ["answer 2", None, None, "answer 5"]


def test_changed_input_is_refused_where_a_journal_needs_it(output: Path, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"custom_id": "x", "body": {"messages": []}}\n')

    with pytest.raises(BadRequest, match="has changed since the run"):
        exported(output, tmp_path / "a.jsonl")
    assert not (tmp_path / "a.jsonl").exists()


def test_damaged_part_is_named(output: Path, tmp_path: Path) -> None:
    part = output / "part-000000.parquet"
    data = bytearray(part.read_bytes())
    group = pq.read_metadata(part).row_group(0)
    for number in range(group.num_columns):
        leaf = group.column(number)
        start = leaf.dictionary_page_offset or leaf.data_page_offset
        data[start : start + leaf.total_compressed_size] = bytes(leaf.total_compressed_size)
    part.write_bytes(data)

    with pytest.raises(TerminalError, match=r"part .*part-000000\.parquet is damaged"):
        exported(output, tmp_path / "a.jsonl")
    with pytest.raises(TerminalError, match=r"part-000000\.parquet is damaged"):
        read_answers(part)


@pytest.mark.parametrize("name", ["a.txt", "out/a.jsonl", "nowhere/a.jsonl", "out"])
def test_invalid_export_file_is_refused(output: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(BadRequest, match="--to "):
        exported(output, tmp_path / name)


def test_values_without_json_form_are_text() -> None:
    batch = pa.record_batch(
        {
            "raw": pa.array([b"caf\xe9"]).view(pa.string()),
            "bytes": pa.array([b"\xff"]),
            "when": pa.array([0], pa.timestamp("s", "UTC")),
        }
    )

    [row] = rows_of(batch)

    assert json.loads(dumps(row)) == {
        "raw": "caf\N{REPLACEMENT CHARACTER}",
        "bytes": "/w==",
        "when": "1970-01-01T00:00:00+00:00",
    }


def test_report_shows_samples_that_are_not_utf8(tmp_path: Path) -> None:
    raw = pa.array(["café".encode("latin-1"), b"fine"]).view(pa.string())
    pq.write_table(pa.table({"prompt": raw}), tmp_path / "in.parquet")
    dataset = open_dataset(str(tmp_path / "in.parquet"))
    shards = tuple(plan_shards(dataset.row_groups))
    answers = {row: answer(row) for row in range(2)}
    write_part(tmp_path / "out", shards[0], dataset, answers, fingerprint="f")
    manifest = Manifest(
        fingerprint="f",
        identity={"model": "m"},
        input=dataset.describe(),
        provider="p",
        shards=shards,
        created_at=0.0,
    ).with_done(0, Tally(2))

    found = output_stats(RunPaths(tmp_path / "out"), manifest, ["prompt"])

    assert "not UTF-8" in found.samples[0]["asked"]["prompt"]
    assert found.samples[1]["asked"] == {"prompt": "fine"}
