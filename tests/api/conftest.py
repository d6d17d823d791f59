"""Fixtures: an emulator that the environment of the process names."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.machine import quick_emulator
from together_emulator import Emulator


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Emulator]:
    """An emulated Together that this process's environment names; no Prefect server."""
    with quick_emulator() as server:
        monkeypatch.setenv("TOGETHER_BASE_URL", server.url)
        monkeypatch.setenv("TOGETHER_API_KEY", server.key)
        monkeypatch.setenv("MAYFLY_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
        monkeypatch.delenv("TOGETHER_PROJECT_ID", raising=False)
        monkeypatch.delenv("PREFECT_API_URL", raising=False)
        yield server
