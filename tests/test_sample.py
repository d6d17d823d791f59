"""The sample in `data/` is the output of its script."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pyarrow.parquet as pq

DATA = Path(__file__).parents[1] / "data"


def maker() -> ModuleType:
    """Load the script that makes the sample."""
    spec = importlib.util.spec_from_file_location("make_sample", DATA / "make_sample.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_sample_equals_the_output_of_its_script() -> None:
    assert pq.read_table(DATA / "sample.parquet").equals(maker().make())


def test_sample_has_several_row_groups() -> None:
    assert pq.ParquetFile(DATA / "sample.parquet").num_row_groups > 1


def test_data_card_names_every_column() -> None:
    card = (DATA / "README.md").read_text()

    assert all(f"`{name}`" in card for name in pq.read_schema(DATA / "sample.parquet").names)
