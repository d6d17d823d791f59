"""Fixtures: one emulator in real time for the session, a folder with input for each test."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.shell import Shell
from together_emulator import Emulator
from together_emulator.state.settings import Settings


def write_questions(folder: Path) -> None:
    """Write `questions.parquet`: 40 rows of id and question."""
    table = pa.table({"id": range(40), "question": [f"What is {n} + {n}?" for n in range(40)]})
    pq.write_table(table, folder / "questions.parquet")


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    """A server in real time, so that a run's bill and the server's are of the same minutes.

    It starts and stops replicas at once.
    """
    at_once = Settings(schedule_s=0.2, start_factor=0.0, drain_s=0.2, routing_s=0.0)
    with Emulator(speed=1.0, settings=at_once) as server:
        yield server


@pytest.fixture
def shell(emulator: Emulator, tmp_path: Path) -> Shell:
    """A shell in a folder that has `questions.parquet`, 40 rows of id and question."""
    write_questions(tmp_path)
    return Shell(emulator, tmp_path)
