"""Bad requests: exit code 2, one line on standard error, nothing created."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.shell import MODEL, Ended, Shell

RUN = ["run", "questions.parquet", "--output", "out", "--yes"]
ASKING = ["--model", MODEL, "--prompt", "{{ question }}"]


def refused(shell: Shell, ended: Ended, *, says: list[str]) -> None:
    """Check that a command was refused, in one line that says these things."""
    assert ended.code == 2, ended.err
    assert ended.out == ""
    # A slow machine says what it waits for.
    lines = [line for line in ended.err.splitlines() if not line.endswith(" ...")]
    assert len(lines) == 1, ended.err
    assert lines[0].startswith("mayfly: ")
    for arguments in says:
        assert arguments in lines[0]
    assert "Traceback" not in ended.err
    assert shell.creations == 0
    assert not (shell.folder / "out").exists()
    assert not (shell.folder / "state" / "leases").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(
            [*RUN, "--model", "Qwen/Qwen2.5-7B", "--prompt", "{{ question }}"],
            ["Qwen/Qwen2.5-7B", MODEL],
            id="an unknown model, with those that are near",
        ),
        pytest.param(
            [*RUN, *ASKING, "--hardware", "9xnvidia-t4-16gb"],
            ["9xnvidia-t4-16gb", "1xnvidia-h100-80gb", "1xnvidia-h200-141gb"],
            id="hardware that does not fit, with what does",
        ),
        pytest.param(
            [*RUN, *ASKING, "--runner", "ray"],
            ["--runner must be local, processes or dask, not 'ray'"],
            id="a runner that there is not",
        ),
        pytest.param(
            ["run", "nowhere.parquet", "--output", "out", "--yes", *ASKING],
            ["nowhere.parquet"],
            id="an input that is not there",
        ),
        pytest.param(
            ["run", "notes.txt", "--output", "out", "--yes", *ASKING],
            ["notes.txt"],
            id="an input that is not Parquet",
        ),
        pytest.param(
            ["run", "empty.parquet", "--output", "out", "--yes", *ASKING],
            ["empty.parquet", "rows"],
            id="an input without rows",
        ),
        pytest.param(
            ["run", "taken.parquet", "--output", "out", "--yes", *ASKING],
            ["'response'", "rename"],
            id="an input with a column that the output needs",
        ),
        pytest.param(
            [*RUN, "--model", MODEL, "--prompt", "{{ qestion }}"],
            ["qestion", "question"],
            id="a column that is not there, with those that are",
        ),
        pytest.param(
            [*RUN, "--model", MODEL, "--prompt", "{{ question"],
            ["template"],
            id="a template that is broken",
        ),
        pytest.param(
            [*RUN, *ASKING, "--schema", "notes.txt"], ["--schema", "JSON"], id="a bad schema"
        ),
        pytest.param(
            [*RUN, *ASKING, "--deadline", "soon"], ["--deadline", "90m"], id="a bad deadline"
        ),
        pytest.param([*RUN, *ASKING, "--replicas", "0"], ["--replicas"], id="no replicas"),
        pytest.param([*RUN, *ASKING, "--temperature", "3"], ["--temperature"], id="too hot"),
        pytest.param([*RUN, *ASKING, "--max-cost", "-1"], ["--max-cost"], id="a negative cost"),
        pytest.param([*RUN, *ASKING, "--tempo", "3"], ["--tempo"], id="an unknown option"),
        pytest.param([*RUN, "--prompt", "hi"], ["--model"], id="no model"),
        pytest.param(
            ["run", "questions.parquet", "--output", "out", *ASKING], ["--yes"], id="--yes"
        ),
        pytest.param(
            ["plan", "questions.parquet", "--model", MODEL], ["prompt"], id="nothing to ask with"
        ),
        pytest.param(["status", "."], ["--output"], id="a status of what is no run"),
        pytest.param(["fly"], ["fly"], id="an unknown command"),
    ],
)
def test_bad_request_is_refused_in_one_line(
    shell: Shell, arguments: list[str], says: list[str]
) -> None:
    (shell.folder / "notes.txt").write_text("no Parquet, and no JSON either")
    pq.write_table(
        pa.table({"question": pa.array([], pa.string())}), shell.folder / "empty.parquet"
    )
    taken = pa.table({"question": ["?"], "response": ["!"]})
    pq.write_table(taken, shell.folder / "taken.parquet")

    refused(shell, shell(*arguments), says=says)


@pytest.mark.parametrize("arguments", [RUN + ASKING, ["hardware"]], ids=["run", "hardware"])
def test_missing_key_is_refused_without_a_call(shell: Shell, arguments: list[str]) -> None:
    ended = shell(*arguments, env={"TOGETHER_API_KEY": None})

    refused(shell, ended, says=["TOGETHER_API_KEY", "--local"])
    assert shell.emulator.has_endpoints is False


def test_foreign_output_folder_is_left_unchanged(shell: Shell) -> None:
    (shell.folder / "mine").mkdir()
    (shell.folder / "mine" / "thesis.txt").write_text("precious")

    ended = shell("run", "questions.parquet", "--output", "mine", "--yes", *ASKING)

    refused(shell, ended, says=["mine", "thesis.txt"])
    assert [path.name for path in (shell.folder / "mine").iterdir()] == ["thesis.txt"]


def test_refused_key_is_exit_2_and_is_not_shown(shell: Shell) -> None:
    ended = shell(*RUN, *ASKING, env={"TOGETHER_API_KEY": "sk-wrong-and-secret"})

    refused(shell, ended, says=[])
    assert "sk-wrong-and-secret" not in ended.err
