"""Rules for all tests."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.machine import Launcher
from tests.support.object_stores import AzureServer, azurite
from tests.support.odd_machine import launcher_of_odd_machines
from tests.support.prefect_server import shared_prefect_server

# How long an example takes is the machine's affair, and others use it too.
settings.register_profile("mayfly", deadline=None)
settings.load_profile("mayfly")


@pytest.fixture(autouse=True)
def environment_of_its_own() -> Iterator[None]:
    """Take back what a test's command put into this process's environment.

    `mayfly` sets variables for the Prefect it is about to import; the processes that a later test
    starts would inherit them.
    """
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


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


@pytest.fixture(scope="session")
def odd_launcher(
    prefect_api_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Launcher]:
    """A fork server whose commands can be on an `OddMachine`, whose disk hangs."""
    folder = tmp_path_factory.mktemp("odd")
    with launcher_of_odd_machines(
        folder,
        {"PREFECT_API_URL": prefect_api_url, "PREFECT_HOME": str(folder), "DO_NOT_TRACK": "1"},
    ) as launcher:
        yield launcher


@pytest.fixture(scope="session")
def azure() -> Iterator[AzureServer]:
    """Azurite: its start takes seconds, and one container serves all tests."""
    with azurite() as server:
        yield server


def _session_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.getbasetemp()
    # Under pytest-xdist each process has a folder of its own in a common one.
    return base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
