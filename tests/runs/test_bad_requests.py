"""Bad requests: one line, exit code 2, nothing created."""

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mayfly.cli.main import main
from tests.support.machine import MODEL, quick_emulator
from tests.support.waiting_lines import without_waiting_lines
from together_emulator import Emulator

Case = Callable[[Path], tuple[list[str], str]]


@pytest.fixture(scope="module")
def server() -> Iterator[Emulator]:
    """An API that nothing should be created on."""
    with quick_emulator() as running:
        yield running


def put(folder: Path, **columns: object) -> str:
    pq.write_table(pa.table(columns or {"q": ["a", "b"]}), folder / "in.parquet")
    return str(folder / "in.parquet")


def text(path: Path, content: str) -> str:
    path.write_text(content)
    return str(path)


CASES: dict[str, Case] = {
    "missing file": lambda d: ([str(d / "none.parquet")], "does not exist"),
    "not Parquet": lambda d: ([text(d / "in.parquet", "a,b")], "is not a Parquet file"),
    "zero rows": lambda d: ([put(d, q=pa.array([], pa.string()))], "has 0 rows"),
    "empty folder": lambda d: ([str(d)], "has no data files"),
    "unknown column": lambda d: (
        [put(d), "--prompt", "{{ question }}"],
        "uses question, which the input does not have; its columns are q",
    ),
    "broken template": lambda d: (
        [put(d), "--prompt", "{{ q"],
        "--prompt, line 1: .*; the columns are q",
    ),
    "template that fails on every row": lambda d: (
        [put(d), "--prompt", "{{ q + 1 }}"],
        "could not render any of the first 2 rows",
    ),
    "endless template": lambda d: (
        [put(d), "--prompt", "{{ q * 10**9 }}"],
        "could not render any of the first 2 rows .*longer than",
    ),
    "no prompt at all": lambda d: ([put(d)], "neither a messages nor a prompt column.*: q"),
    "unknown messages column": lambda d: (
        [put(d), "--messages-column", "chat"],
        "--messages-column chat: the input has no such column; its columns are q",
    ),
    "unknown column to embed": lambda d: (
        [put(d), "--embed", "t"],
        "--embed t: the input has no such column; its columns are q",
    ),
    "output column taken": lambda d: (
        [put(d, prompt=["a"], response=["b"])],
        "'response', which is the name of an output column",
    ),
    "parsed taken": lambda d: (
        [put(d, prompt=["a"], parsed=["b"]), "--schema", text(d / "s.json", '{"type":"object"}')],
        "'parsed', which is the name of an output column",
    ),
    "embedding taken": lambda d: (
        [put(d, t=["a"], embedding=["b"]), "--embed", "t"],
        "'embedding', which is the name of an output column",
    ),
    "output is a file": lambda d: (
        [put(d, prompt=["a"]), "--output", text(d / "file", "mine")],
        "is a file; give a folder",
    ),
    "output's name is too long": lambda d: (
        [put(d, prompt=["a"]), "--output", str(d / ("x" * 300))],
        r"cannot be (written|read): File name too long; .*give another",
    ),
    "output of something else": lambda d: (
        [put(d, prompt=["a"]), "--output", str(d)],
        "is not an earlier run",
    ),
    "output cannot be created": lambda d: (
        [put(d, prompt=["a"]), "--output", f"{text(d / 'file', 'mine')}/below/out"],
        "cannot be created: .* is a file",
    ),
    "unknown model": lambda d: (
        [put(d, prompt=["a"]), "--model", "no/such-model"],
        "no/such-model",
    ),
    "unknown hardware": lambda d: (
        [put(d, prompt=["a"]), "--hardware", "1xabacus"],
        "1xabacus",
    ),
    "schema that is none": lambda d: (
        [put(d, prompt=["a"]), "--schema", text(d / "s.json", json.dumps({"type": "objekt"}))],
        "--schema is not a valid JSON Schema",
    ),
    "schema that is no JSON": lambda d: (
        [put(d, prompt=["a"]), "--schema", text(d / "s.json", "{")],
        "not JSON",
    ),
    "embed with system": lambda d: (
        [put(d), "--embed", "q", "--system", "be brief"],
        "--embed cannot be combined with --system",
    ),
    "embed with schema": lambda d: (
        [put(d), "--embed", "q", "--schema", text(d / "s.json", '{"type":"object"}')],
        "--embed cannot be combined with --schema",
    ),
    "completions with messages": lambda d: (
        [put(d), "--completions", "--messages-column", "q"],
        "--completions cannot be combined with --messages-column",
    ),
    "dedupe without a fixed answer": lambda d: (
        [put(d, prompt=["a"]), "--dedupe"],
        "set --temperature to 0, or give --seed",
    ),
    "incremental with limit": lambda d: (
        [put(d, prompt=["a"]), "--incremental", "--limit", "1"],
        "--incremental cannot be combined with --limit",
    ),
}


@pytest.mark.parametrize("command", ["run", "plan"])
@pytest.mark.parametrize("case", CASES)
def test_bad_request_is_one_line_and_creates_nothing(
    case: str,
    command: str,
    server: Emulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TOGETHER_API_KEY", server.key)
    monkeypatch.setenv("TOGETHER_BASE_URL", server.url)
    monkeypatch.setenv("MAYFLY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    monkeypatch.setenv("COLUMNS", "60")
    (data := tmp_path / "data").mkdir()
    argv, expected = CASES[case](data)
    before = sorted(os.walk(tmp_path))
    if "--output" not in argv:
        argv += ["--output", str(tmp_path / "out")]
    if "--model" not in argv:
        argv += ["--model", MODEL]

    code = main([command, *argv, *(["--yes"] if command == "run" else [])])

    captured = capsys.readouterr()
    assert code == 2
    lines = without_waiting_lines(captured.err).splitlines()
    assert len(lines) == 1, captured
    assert re.search(expected, lines[0]), lines[0]
    assert sorted(os.walk(tmp_path)) == before
    assert not [call for call in server.calls() if call.method != "GET"]
