"""One Prefect server and one fork server for all that run the pipeline in this session."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runs.rig import Launcher, Stage, quick_emulator
from tests.runs.shared_server import shared_prefect_server
from together_emulator import Emulator


@pytest.fixture(scope="session")
def prefect_api_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The API of a Prefect server that all test processes share."""
    with shared_prefect_server(_session_folder(tmp_path_factory)) as url:
        yield url


@pytest.fixture(scope="session")
def launcher(prefect_api_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    """A fork server whose commands talk to the session's Prefect server."""
    launcher = Launcher(
        {
            **os.environ,
            "PREFECT_API_URL": prefect_api_url,
            "PREFECT_HOME": str(tmp_path_factory.mktemp("prefect")),
            "DO_NOT_TRACK": "1",
        }
    )
    yield launcher
    launcher.close()


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """An emulated Together whose endpoints start and stop within a blink."""
    with quick_emulator() as server:
        yield server


@pytest.fixture
def stage(emulator: Emulator, launcher: Launcher, tmp_path: Path) -> Iterator[Stage]:
    """A machine with an input and an API to run it against; at its end, nothing runs on it."""
    stage = Stage(emulator, launcher, tmp_path / "machine")
    yield stage
    stage.switch_off()


def _session_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.getbasetemp()
    # Under pytest-xdist each process has a folder of its own in a common one.
    return base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
