"""Cells as Python values: what Python cannot hold says so, and is no other cell's error."""

import pyarrow as pa
import pytest

from mayfly.storage.cells import UnreadableCell, cell_values

MAP = pa.map_(pa.string(), pa.int64())


@pytest.mark.filterwarnings("error")
def test_map_with_a_key_twice_is_unreadable_and_loses_no_value() -> None:
    values = cell_values(pa.array([[("k", 1), ("k", 2)], [("k", 3), ("m", 4)], None], MAP))

    assert isinstance(values[0], UnreadableCell)
    assert "duplicate keys" in values[0].reason
    assert values[1:] == [{"k": 3, "m": 4}, None]


def test_struct_with_a_field_twice_is_unreadable() -> None:
    column = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"])

    (value,) = cell_values(column)

    assert isinstance(value, UnreadableCell)
    assert "duplicate field names" in value.reason


@pytest.mark.parametrize(
    "column",
    [
        pa.array([2**31 - 1], pa.date32()),
        pa.array([2**60], pa.timestamp("us")),
        pa.array([0], pa.timestamp("us", "Mars/Olympus")),
        pa.array([0], pa.timestamp("us", "+25:99")),
        pa.array([2**60], pa.time64("us")),
        pa.array([2**53], pa.duration("s")),
        pa.ListArray.from_arrays(pa.array([0, 1]), pa.array([2**31 - 1], pa.date32())),
    ],
    ids=["date", "timestamp", "zone", "offset", "time", "duration", "in a list"],
)
def test_time_beyond_python_is_unreadable(column: pa.Array) -> None:
    (value,) = cell_values(column)

    assert isinstance(value, UnreadableCell)
    assert "cannot be read" in value.reason
