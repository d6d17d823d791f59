"""The command line as a shell sees it: arguments in; exit code and two streams out."""

import fcntl
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.support.waiting_lines import without_waiting_lines
from together_emulator import Emulator

ROOT = Path(__file__).parents[2]
MODEL = "Qwen/Qwen2.5-7B-Instruct"
NO_SERVER = "http://127.0.0.1:9/api"
"""Nothing listens there: a command that needs Prefect fails visibly."""

PATIENCE_S = 240.0


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it printed, without lines that say what takes long."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Standard output, as one JSON object a line."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def json(self) -> Any:
        """Standard output, as one JSON value."""
        return json.loads(self.out)


class Shell:
    """Runs commands in a folder of their own against one emulator.

    Attributes:
        env: Their whole environment.
        folder: Where they run.
    """

    def __init__(self, emulator: Emulator, folder: Path) -> None:
        self.emulator = emulator
        self.folder = folder
        self._created_before = 0
        self._created_before = self.creations
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "ignore",
            "MAYFLY_HOME": str(folder / "state"),
            "PREFECT_API_URL": NO_SERVER,
            "TOGETHER_BASE_URL": emulator.url,
            "TOGETHER_API_KEY": emulator.key,
        }

    def __call__(self, *words: str, env: dict[str, str | None] | None = None) -> Ended:
        """Run `mayfly` with these arguments, without a terminal; None removes a variable."""
        changed = {**self.env, **(env or {})}
        done = subprocess.run(
            [sys.executable, "-m", "mayfly.cli.main", *words],
            cwd=self.folder,
            env={name: value for name, value in changed.items() if value is not None},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        return Ended(done.returncode, done.stdout, without_waiting_lines(done.stderr))

    @property
    def creations(self) -> int:
        """How many create calls were made since this shell was opened."""
        asked = sum(
            entry.method == "POST" and "/endpoints" in entry.path and "/chat" not in entry.path
            for entry in self.emulator.calls()
        )
        return asked - self._created_before


ASKED = ["questions.parquet", "--model", MODEL, "--prompt", "{{ question }}", "--output", "out"]


def started_by(shell: Shell) -> list[psutil.Process]:
    """Return the processes that commands of a shell have left running."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("MAYFLY_HOME") == shell.env["MAYFLY_HOME"]:
                found.append(process)
        except psutil.Error:
            continue
    return found


def lock(folder: Path) -> int:
    """Hold a run's folder as a run does."""
    file = os.open(folder / "_mayfly" / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(file, fcntl.LOCK_EX)
    os.pwrite(file, json.dumps({"pid": 1, "host": "elsewhere", "since": 0}).encode(), 0)
    return file
