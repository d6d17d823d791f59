"""Fixtures: one emulator process for all clients, and clients that are installed once and kept.

Third-party clients are installed under `.cache`, which git ignores: a virtual environment with
the 2.x SDK, and the npm package. Where the index cannot be reached, tests that need them skip.
"""

import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.emulator.conftest import TLS
from tests.support.together_clients import CACHE, HERE, CommandLine, EmulatorProcess

_SPEED = "300"
"""A cold start takes a second; a command that takes three is a quarter of an hour."""


@pytest.fixture(scope="session")
def server() -> Iterator[EmulatorProcess]:
    """An emulator in a process of its own, which lets the legacy API create."""
    command = [sys.executable, "-m", "together_emulator", "--speed", _SPEED, "--v1-create"]
    headers = {"authorization": "Bearer local"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().split()[-1]
            with httpx.Client(base_url=url, headers=headers, timeout=30, verify=TLS) as http:
                project = http.get("/v3/whoami").json()["project"]["id"]
                yield EmulatorProcess(url=url, project=project, http=http)
        finally:
            process.terminate()


def _installed(folder: Path, recipe: Path, install: Callable[[], str]) -> None:
    """Install once for all test processes, or skip with the last line of what failed."""
    CACHE.mkdir(exist_ok=True)
    done = folder / f".installed-{hashlib.sha256(recipe.read_bytes()).hexdigest()[:12]}"
    with (CACHE / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if done.exists():
            return
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        failure = install()
        if failure:
            pytest.skip(f"{recipe.name} cannot be installed: {failure}")
        done.touch()


def _run(*command: str | Path, cwd: Path = HERE) -> str:
    """Run an installer; returns the last line of a failure, or nothing."""
    try:
        ended = subprocess.run(
            command, cwd=cwd, capture_output=True, text=True, timeout=240, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    lines = (ended.stderr or ended.stdout).strip().splitlines() or ["no words"]
    return lines[-1] if ended.returncode else ""


@pytest.fixture(scope="session")
def python_242() -> Path:
    """The Python of a virtual environment with the SDK 2.42, installed by hash."""
    folder, recipe = CACHE / "together-2.42", HERE / "together-2.42.txt"
    python = folder / "bin" / "python"

    def install() -> str:
        failure = _run(sys.executable, "-m", "venv", folder)
        options = ("--quiet", "--disable-pip-version-check", "--require-hashes")
        return failure or _run(python, "-m", "pip", "install", *options, "-r", recipe)

    _installed(folder, recipe, install)
    return python


@pytest.fixture(scope="session")
def node_folder() -> Path:
    """A folder where node finds the npm package `together-ai`."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("npm is not installed; apt-get install npm")
    folder, recipe = CACHE / "npm", HERE / "package.json"

    def install() -> str:
        shutil.copy(recipe, folder)
        return _run("npm", "install", "--no-audit", "--no-fund", "--no-package-lock", cwd=folder)

    _installed(folder, recipe, install)
    return folder


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder without anybody's stored login."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def cli_31(server: EmulatorProcess, home: Path) -> Iterator[CommandLine]:
    """The command line that comes with our own SDK."""
    line = CommandLine(Path(sys.executable), server.environment(home=home))
    yield line
    line.close()


@pytest.fixture(scope="session")
def cli_242(server: EmulatorProcess, home: Path, python_242: Path) -> Iterator[CommandLine]:
    """The command line of the 2.x SDK, whose base URL ends in /v1."""
    line = CommandLine(python_242, server.environment(base="/v1", home=home))
    yield line
    line.close()
