"""A run with its own Prefect server: signals at many moments, and a server that fails."""

import signal
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.shell import MODEL, Shell
from tests.support.start_up import interrupted_at
from together_emulator import Emulator

MOMENTS_S = (0.1, 0.2, 0.4, 0.7, 1.0, 1.5, 2.0, 3.0, 4.5, 6.0, 8.0, 11.0)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """A shell in a folder with questions.parquet."""
    questions = [f"What is {n} + {n}?" for n in range(2_000)]
    pq.write_table(pa.table({"question": questions}), tmp_path / "questions.parquet")
    with Emulator(speed=60.0) as together:
        yield Shell(together, tmp_path)


@pytest.mark.soak
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("moment_s", MOMENTS_S)
def test_signal_at_any_moment_ends_the_run_with_its_code(
    shell: Shell, moment_s: float, number: signal.Signals, code: int
) -> None:
    ended, output = interrupted_at(shell, moment_s, number)

    # A quick machine has finished by then.
    assert ended in (code, 0), output
    assert "Traceback" not in output
    assert not shell.emulator.has_endpoints


@pytest.mark.soak
def test_run_without_prefect_server_continues_unrecorded(shell: Shell) -> None:
    home = Path(shell.env["MAYFLY_HOME"]) / f"prefect-{version('prefect')}"
    home.mkdir(parents=True)
    (home / "prefect.db").write_bytes(b"no database" * 1000)

    ended = shell(
        "run", "questions.parquet", "--model", MODEL, "--prompt", "{{ question }}", "--limit", "20",
        "--output", "out", "--yes", env={"PREFECT_API_URL": None},
    )  # fmt: skip

    assert ended.code == 0, ended.err
    assert "the run continues without a record in Prefect" in ended.out
    assert pq.read_table(shell.folder / "out").num_rows == 20
    assert not shell.emulator.has_endpoints


@pytest.mark.soak
def test_run_with_unreachable_prefect_server_continues_unrecorded(shell: Shell) -> None:
    ended = shell(
        "run", "questions.parquet", "--model", MODEL, "--prompt", "{{ question }}", "--limit", "20",
        "--output", "out", "--yes",
    )  # fmt: skip

    assert ended.code == 0, ended.err
    assert f"the Prefect server at {shell.env['PREFECT_API_URL']} does not respond" in ended.out
    assert pq.read_table(shell.folder / "out").num_rows == 20
    assert not shell.emulator.has_endpoints
