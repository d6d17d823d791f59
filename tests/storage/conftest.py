"""Fixtures: a folder of Parquet files."""

from pathlib import Path

import pytest

from tests.support.parquet_input import write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with 13 rows, whose ids are in the order of the paths."""
    write(tmp_path / "in" / "b.parquet", 5, first=5)
    write(tmp_path / "in" / "a.parquet", 5)
    write(tmp_path / "in" / "more" / "c.pq", 3, first=10)
    return tmp_path / "in"
