"""Standard output that is closed or full: one line and an exit code, never a traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "mayfly.cli.main"]


def run(command: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Run a shell line in which `mayfly` is ours."""
    env = {**os.environ, "MAYFLY_HOME": str(tmp_path), "MAYFLY": " ".join(COMMAND)}
    return subprocess.run(
        ["sh", "-c", command], env=env, capture_output=True, text=True, check=False, timeout=60
    )


def test_closed_stdout_is_no_error(tmp_path: Path) -> None:
    ended = run("$MAYFLY history --json >&-; echo code $?", tmp_path)

    assert "Traceback" not in ended.stderr
    assert ended.stdout.strip().endswith("code 0")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk_behind_stdout_is_one_line(tmp_path: Path) -> None:
    ended = run("$MAYFLY history --json >/dev/full; echo code $?", tmp_path)

    assert "Traceback" not in ended.stderr
    assert ended.stderr.strip() == (
        "mayfly: standard output cannot be written: No space left on device"
    )
    assert ended.stdout.strip() == "code 2"
