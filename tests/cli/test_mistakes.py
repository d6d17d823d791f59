"""Common mistakes: each is one line that names the nearest alternative, and exit code 2."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mayfly.cli.main import main
from mayfly.cli.options import JobOptions
from mayfly.models.manifest import Manifest
from tests.support.machine import MODEL, quick_emulator
from tests.support.waiting_lines import without_waiting_lines
from together_emulator import Emulator

ASKING = ["--model", MODEL, "--prompt", "{{ question }}"]
RUN = ["run", "in.parquet", *ASKING, "--output", "out", "--yes"]


@pytest.fixture(scope="module")
def server() -> Iterator[Emulator]:
    """An API that nothing may be created on."""
    with quick_emulator() as running:
        yield running


def nothing() -> None:
    """Leave the folder as every case finds it."""


def other_files() -> None:
    """Create a foreign folder at the output path."""
    Path("out").mkdir()
    Path("out/thesis.txt").write_text("precious")


def earlier_run() -> None:
    """Put an earlier run with another prompt where the output should be."""
    job = JobOptions(model=MODEL, prompt="{{ question }}?").job("in.parquet", "out")
    manifest = Manifest(
        fingerprint="0" * 64,
        identity=job.identity(),
        input={"uri": "in.parquet", "fingerprint": "0" * 64, "rows": 2},
        provider="elsewhere",
        shards=(),
        created_at=0.0,
    )
    Path("out/_mayfly").mkdir(parents=True)
    Path("out/_mayfly/manifest.json").write_text(json.dumps(manifest.as_dict()))


def dead_link() -> None:
    """Put a link that leads nowhere into an input folder."""
    Path("folder").mkdir()
    Path("folder/part.parquet").symlink_to("nowhere.parquet")


@dataclass(frozen=True)
class Mistake:
    """A command line that is wrong.

    Attributes:
        argv: As it is typed.
        says: What its one line has to hold.
        before: Makes the folder that it is typed in.
        env: Variables besides the usual ones.
    """

    argv: list[str]
    says: list[str]
    before: Callable[[], None] = nothing
    env: tuple[tuple[str, str], ...] = ()


MISTAKES = {
    "option misspelt": Mistake(
        [*RUN, "--max-cots", "3"], ["--max-cots", "did you mean --max-cost"]
    ),
    "option misspelt before another is missing": Mistake(
        ["run", "in.parquet", "--modle", MODEL], ["--modle", "did you mean --model"]
    ),
    "option of another tool": Mistake([*RUN, "--batch-size", "8"], ["--batch-size", "mayfly run"]),
    # As an unset shell variable leaves it: a path would be the working directory.
    "input that is empty": Mistake(["run", "", *RUN[2:]], ["INPUT must not be empty"]),
    "output that is empty": Mistake(
        [*RUN[:-2], "", "--yes"], ["--output must not be empty; see mayfly run --help"]
    ),
    "template that is empty": Mistake([*RUN[:5], "", *RUN[6:]], ["--prompt must not be empty"]),
    "file that is empty": Mistake([*RUN, "--schema="], ["--schema must not be empty"]),
    "file of a body that is empty": Mistake([*RUN, "--body", "@"], ["--body must not be empty"]),
    "config that is empty": Mistake([*RUN, "--config", ""], ["--config must not be empty"]),
    "folder that is empty": Mistake(["status", ""], ["DIR must not be empty"]),
    "export that is empty": Mistake(["export", "bare", "--to", ""], ["--to must not be empty"]),
    "name that is empty": Mistake(["endpoints", "delete", ""], ["NAME must not be empty"]),
    "option without its value": Mistake([*RUN, "--system", "--local"], ["--system needs a value"]),
    "command misspelt": Mistake(["rnu", "in.parquet"], ["'rnu'", "did you mean run"]),
    "subcommand misspelt": Mistake(["endpoints", "lst"], ["'lst'", "did you mean list"]),
    "choice misspelt": Mistake(
        [*RUN, "--teardown", "delet"], ["--teardown", "delete, stop or keep", "did you mean delete"]
    ),
    "runner unknown": Mistake(
        [*RUN, "--runner", "ray"], ["--runner must be local, processes or dask, not 'ray'"]
    ),
    "model misspelt": Mistake(
        ["run", "in.parquet", "--model", MODEL[:-9], "--prompt", "x", "--output", "out", "--yes"],
        [MODEL],
    ),
    "hardware misspelt": Mistake(
        [*RUN, "--hardware", "1xnvidia-h100-80g"],
        ["mayfly: --hardware 1xnvidia-h100-80g does not fit", "choose one of: 1xnvidia-h100-80gb"],
    ),
    "region misspelt": Mistake(
        [*RUN, "--region", "us-eest-1"],
        ["mayfly: --region us-eest-1 is not offered", "did you mean us-east-1"],
    ),
    "zone misspelt": Mistake(
        [*RUN, "--api", "v1", "--availability-zone", "us-eest-1"],
        ["mayfly: --availability-zone us-eest-1 is not offered", "did you mean us-east-1"],
    ),
    "config misspelt": Mistake(
        [*RUN, "--config", "cr_none"], ["mayfly: --config cr_none", "choose one of: cr_"]
    ),
    "endpoint misspelt": Mistake(
        [*RUN, "--endpoint", "mine"], ["mayfly: --endpoint mine does not exist", "endpoints list"]
    ),
    "column misspelt in the template": Mistake(
        [*RUN[:5], "{{ qestion }}", *RUN[6:]], ["qestion", "did you mean question"]
    ),
    "column misspelt in an option": Mistake(
        ["plan", "in.parquet", "--model", MODEL, "--embed", "Question"],
        ["--embed Question", "did you mean question"],
    ),
    "template with a syntax error": Mistake(
        [*RUN[:5], "{{ question", *RUN[6:]], ["--prompt, line 1", "question"]
    ),
    "two prompt sources": Mistake(
        [*RUN, "--messages-column", "question"], ["--prompt or --messages-column, not both"]
    ),
    "no prompt": Mistake(["plan", "in.parquet", "--model", MODEL], ["--prompt", "question"]),
    "input missing": Mistake(
        ["run", "inn.parquet", *RUN[2:]], ["inn.parquet does not exist", "did you mean in.parquet"]
    ),
    "input of another kind": Mistake(["run", "notes.txt", *RUN[2:]], ["notes.txt"]),
    "input without rows": Mistake(["run", "empty.parquet", *RUN[2:]], ["empty.parquet", "0 rows"]),
    "input folder without data": Mistake(["run", "bare", *RUN[2:]], ["bare has no data files"]),
    "input folder with what cannot be read": Mistake(
        ["run", "folder", *RUN[2:]], ["folder/part.parquet cannot be read"], dead_link
    ),
    "pattern that the shell has expanded": Mistake(
        ["run", "in.parquet", "empty.parquet", *RUN[2:]], ["'empty.parquet'", "quote a pattern"]
    ),
    "schema file missing": Mistake(
        [*RUN, "--schema", "shema.json"], ["--schema shema.json", "did you mean schema.json"]
    ),
    "schema that is not JSON": Mistake([*RUN, "--schema", "notes.txt"], ["--schema", "not JSON"]),
    "tools that are none": Mistake([*RUN, "--tools", "schema.json"], ["--tools", "list of tools"]),
    "body that is not JSON": Mistake([*RUN, "--body", "{top_k: 5}"], ["--body is not JSON"]),
    "body that sets the model": Mistake(
        [*RUN, "--body", '{"model": "other"}'], ["--body cannot set 'model'"]
    ),
    "deadline without a unit": Mistake(
        [*RUN, "--deadline", "90"], ["--deadline must be a duration such as 90m", "'90'"]
    ),
    "cost below zero": Mistake([*RUN, "--max-cost", "-1"], ["--max-cost must be more than 0"]),
    "cost with its currency": Mistake([*RUN, "--max-cost", "$5"], ["--max-cost must be a number"]),
    "number out of bounds": Mistake(
        [*RUN, "--temperature", "3"], ["--temperature must be at most 2, not 3"]
    ),
    "number that is none": Mistake(
        [*RUN, "--max-tokens", "many"], ["--max-tokens must be a whole number, not 'many'"]
    ),
    "range of replicas the wrong way": Mistake([*RUN, "--replicas", "4-1"], ["--replicas", "4-1"]),
    "tag without a value": Mistake([*RUN, "--tag", "team"], ["--tag must be KEY=VALUE"]),
    "option of the old API": Mistake(
        [*RUN, "--no-speculative-decoding"], ["--no-speculative-decoding is for --api v1 only"]
    ),
    "Dask without its runner": Mistake(
        [*RUN, "--dask", "tcp://a:8786"], ["--dask is for --runner dask only"]
    ),
    "approval without a server to ask in": Mistake(
        [*RUN, "--approve-above", "5"],
        ["mayfly: --approve-above asks in Prefect", "set PREFECT_API_URL"],
        env=(("PREFECT_API_URL", ""), ("PREFECT_HOME", "none")),
    ),
    "no question and no --yes": Mistake(RUN[:-1], ["--yes"]),
    "no key": Mistake(RUN, ["TOGETHER_API_KEY", "--local"], env=(("TOGETHER_API_KEY", ""),)),
    "wrong key": Mistake(RUN, ["key"], env=(("TOGETHER_API_KEY", "sk-of-another"),)),
    "output not empty": Mistake(RUN, ["out", "thesis.txt", "new or empty folder"], other_files),
    "prompt changed at resume": Mistake(
        RUN,
        ["another job: --prompt was '{{ question }}?', is '{{ question }}'", "--output"],
        earlier_run,
    ),
    "status of what is no run": Mistake(["status", "bare"], ["bare", "--output"]),
}


def everything() -> list[tuple[str, list[str], list[str]]]:
    """Return every name in the folder."""
    return sorted((root, sorted(folders), sorted(files)) for root, folders, files in os.walk("."))


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake_is_one_line_with_the_nearest_alternative(
    name: str,
    server: Emulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mistake = MISTAKES[name]
    monkeypatch.chdir(tmp_path)
    usual = {
        "TOGETHER_API_KEY": server.key,
        "TOGETHER_BASE_URL": server.url,
        "MAYFLY_HOME": str(tmp_path / "home"),
        "PREFECT_API_URL": "http://127.0.0.1:9/api",
        "COLUMNS": "60",
    }
    for variable, value in {**usual, **dict(mistake.env)}.items():
        monkeypatch.setenv(variable, value)
    pq.write_table(pa.table({"question": ["a", "b"], "id": [1, 2]}), "in.parquet")
    pq.write_table(pa.table({"question": pa.array([], pa.string())}), "empty.parquet")
    Path("notes.txt").write_text("neither Parquet nor JSON")
    Path("schema.json").write_text('{"type": "object"}')
    Path("bare").mkdir()
    mistake.before()
    before = everything()

    code = main(mistake.argv)

    printed = capsys.readouterr()
    error = without_waiting_lines(printed.err)
    assert (code, printed.out) == (2, "")
    assert error.count("\n") == 1, error
    assert error.startswith("mayfly: ")
    for expected in mistake.says:
        assert expected in error
    for private in ("pydantic", "http://", "https://", "Traceback", "sk-of-another", "sampling."):
        assert private not in printed.err
    assert everything() == before
    assert not [call for call in server.calls() if call.method != "GET"]
