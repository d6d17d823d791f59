"""Shards with and without `--shard-rows`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mayfly.models.shards import (
    MAX_SHARD_BYTES,
    MAX_SHARD_ROWS,
    RowGroup,
    Shard,
    plan_shards,
)

row_groups = st.lists(
    st.builds(RowGroup, rows=st.integers(0, 200_000), bytes=st.integers(0, 2**31)), max_size=12
)


@given(groups=row_groups, shard_rows=st.none() | st.integers(50_000, 300_000))
def test_shards_cover_every_row_once_and_in_order(
    groups: list[RowGroup], shard_rows: int | None
) -> None:
    shards = plan_shards(groups, shard_rows=shard_rows)

    at = 0
    for index, shard in enumerate(shards):
        assert shard.index == index
        assert shard.first_row == at
        assert shard.rows > 0
        at = shard.end_row
    assert at == sum(group.rows for group in groups)


@given(groups=row_groups)
def test_automatic_shard_is_bounded_in_rows(groups: list[RowGroup]) -> None:
    assert all(shard.rows <= MAX_SHARD_ROWS for shard in plan_shards(groups))


@given(rows=st.integers(1, 500_000), row_bytes=st.integers(1, 2**20))
def test_automatic_shard_is_bounded_in_bytes(rows: int, row_bytes: int) -> None:
    shards = plan_shards([RowGroup(rows, rows * row_bytes)])

    assert all(shard.rows * row_bytes <= MAX_SHARD_BYTES + row_bytes for shard in shards)


def test_rows_larger_than_a_shard_have_their_own() -> None:
    shards = plan_shards([RowGroup(3, 3 * MAX_SHARD_BYTES * 2)])

    assert [shard.rows for shard in shards] == [1, 1, 1]


@pytest.mark.parametrize(
    ("rows", "shards"), [(20, 1), (16_384, 1), (16_385, 2), (64_000, 4), (1_000_000, 62)]
)
def test_automatic_shard_has_as_many_rows_as_are_sorted_together(rows: int, shards: int) -> None:
    cut = plan_shards([RowGroup(rows, rows * 500)])

    assert len(cut) == shards
    assert cut[0] == Shard(index=0, first_row=0, rows=-(-rows // shards))


@pytest.mark.parametrize(
    ("rows", "shards"), [(20, 1), (8_192, 1), (8_193, 2), (20_000, 3), (65_536, 8), (400_000, 25)]
)
def test_input_for_workers_has_more_shards_if_they_are_large_enough(rows: int, shards: int) -> None:
    assert len(plan_shards([RowGroup(rows, rows * 100)], at_least=8)) == shards


def test_shards_end_at_nearby_row_group_ends() -> None:
    groups = [RowGroup(rows, rows * 100) for rows in (1_000, 1_100, 900, 1_050) * 4]
    bounds = {0}
    for group in groups:
        bounds.add(max(bounds) + group.rows)

    shards = plan_shards(groups)

    assert {shard.end_row for shard in shards} <= bounds


def test_single_row_group_is_cut_evenly() -> None:
    shards = plan_shards([RowGroup(26_380, 14_000_000)])

    assert {shard.rows for shard in shards} <= {13_190}


def test_fixed_shard_rows_leave_the_rest_to_the_last_shard() -> None:
    shards = plan_shards([RowGroup(10, 1), RowGroup(15, 1)], shard_rows=10)

    assert [shard.rows for shard in shards] == [10, 10, 5]


def test_input_without_rows_has_no_shards() -> None:
    assert plan_shards([RowGroup(0, 0)]) == []
    assert plan_shards([], shard_rows=5) == []


def test_more_than_a_million_shards_are_refused_with_a_valid_number() -> None:
    with pytest.raises(ValueError, match="give at least 3"):
        plan_shards([RowGroup(2_500_000, 1)], shard_rows=1)
