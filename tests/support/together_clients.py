"""An emulator in a process, and clients in theirs."""

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx

from tests.support.wait import wait_until

HERE = Path(__file__).parents[1] / "clients"
CACHE = HERE / ".cache"
MODEL = "Qwen/Qwen2.5-7B-Instruct"
EMBEDDING = "intfloat/multilingual-e5-large-instruct"
V1_HARDWARE = "1x_nvidia_h100_80gb_sxm"
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class EmulatorProcess:
    """An emulator that listens, and the way behind its scenes."""

    url: str
    project: str
    http: httpx.Client

    def environment(self, *, base: str = "", home: Path) -> dict[str, str]:
        """Return what a client needs to find the server, and nothing of the developer's own."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "TOGETHER_API_KEY": "local",
            "TOGETHER_BASE_URL": f"{self.url}{base}",
            "TOGETHER_PROJECT_ID": self.project,
            "TOGETHER_TELEMETRY_DISABLED": "1",
            "TOGETHER_DISABLE_VERSION_CHECK": "1",
            "DO_NOT_TRACK": "1",
            "COLUMNS": "200",
        }

    @property
    def billing(self) -> int:
        """How many replicas bill now."""
        return int(self.http.get("/_emulator/ledger").json()["billing"])

    def endpoint_names(self) -> list[str]:
        """Return the names of endpoints with a deployment."""
        found = self.http.get("/_emulator/deployments").json()["deployments"]
        return [deployment["endpoint"] for deployment in found]

    def calls(self, path: str) -> list[tuple[str, int]]:
        """Return method and status of the requests to paths that match a regular expression."""
        found = self.http.get("/_emulator/calls", params={"path": path}).json()["calls"]
        return [(call["method"], call["status"]) for call in found]


def wait_for(poll: Callable[[], T], wanted: Callable[[T], bool]) -> T:
    """Poll until the value is wanted; return it."""
    found: list[T] = []

    def seen() -> bool:
        found.append(poll())
        return wanted(found[-1])

    wait_until(seen, "the value that is wanted")
    return found[-1]


class CommandLine:
    """The `together` command line of one Python, warm."""

    def __init__(self, python: Path, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [python, HERE / "forking_cli.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=dict(environment),
            text=True,
        )

    def run(self, *arguments: str) -> tuple[int, str]:
        """Run a command; returns its exit code and what it printed, errors behind the rest."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(arguments) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return answer["code"], answer["out"] + answer["err"]

    def ok(self, *arguments: str) -> str:
        """Run a command that must succeed; returns what it printed."""
        code, printed = self.run(*arguments)
        assert code == 0, f"together {' '.join(arguments)}: {printed}"
        return printed

    def json(self, *arguments: str) -> Any:
        """Run a command with `--json`; returns what it says."""
        return json.loads(self.ok(*arguments, "--json"))

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()
