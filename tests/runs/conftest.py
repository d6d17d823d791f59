"""Fixtures: a machine of its own for each test of whole runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.machine import Launcher, Machine, quick_emulator
from together_emulator import Emulator


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """An emulated Together whose endpoints start and stop within a blink."""
    with quick_emulator() as server:
        yield server


@pytest.fixture
def machine(emulator: Emulator, launcher: Launcher, tmp_path: Path) -> Iterator[Machine]:
    """A machine with an input and an API to run it against; at its end, nothing runs on it."""
    machine = Machine(emulator, launcher, tmp_path / "machine")
    yield machine
    machine.switch_off()
