"""Split a dataset into shards: contiguous ranges of rows, each one task and one part file."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

MAX_SHARD_ROWS = 16_384
"""Maximum rows of a shard of automatic size. A shard's answers are held until its part is
written, so a larger input makes more shards and takes no more memory."""

MAX_SHARD_BYTES = 64 * 2**20
"""Maximum input of such a shard, in uncompressed bytes; a single row may be larger."""

MIN_SHARD_ROWS = 8192
"""Minimum rows of such a shard: rows are sorted by prefix within a shard for the endpoint's prompt
cache, and few rows share no prefix."""

SHARDS_FOR_WORKERS = 8
"""Minimum shards of an input that workers share, if it is large enough: each takes a few."""

MAX_SHARDS = 1_000_000
"""Maximum number of part files; their names have six digits."""


class RowGroup(NamedTuple):
    """The rows of one Parquet row group and their uncompressed size in bytes."""

    rows: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """A contiguous range of input rows, processed by one task and written to one part file.

    Attributes:
        index: Position among the shards, from 0.
        first_row: Position of its first row in the input, from 0.
        rows: Rows in the range; at least 1.
    """

    index: int
    first_row: int
    rows: int

    @property
    def end_row(self) -> int:
        """The position after the last row."""
        return self.first_row + self.rows


def plan_shards(
    groups: Sequence[RowGroup], *, shard_rows: int | None = None, at_least: int = 1
) -> list[Shard]:
    """Return shards that cover all rows of the row groups once, in order.

    With `shard_rows` every shard but the last has that many rows. Without, a shard has at most
    16,384 rows and 64 MiB of input, so an input of a million rows has about 64. Shards end at the
    end of a row group if one is near, so that no two tasks decode the same one.

    Args:
        groups: All row groups in the order of the input.
        shard_rows: Rows per shard, at least 1 (ValueError below).
        at_least: Minimum number of shards of automatic size, if each has 8,192 rows or more.

    Raises:
        ValueError: There would be more than a million shards.
    """
    rows = sum(group.rows for group in groups)
    if shard_rows is None:
        ends = list(_automatic_ends(groups, rows, at_least))
    else:
        if shard_rows < 1:
            raise ValueError(f"{shard_rows} rows per shard; give at least 1")
        if rows > shard_rows * MAX_SHARDS:
            raise ValueError(
                f"{shard_rows} rows per shard cut {rows:,} rows into more than {MAX_SHARDS:,} "
                f"shards; give at least {-(-rows // MAX_SHARDS)}"
            )
        ends = [*range(shard_rows, rows, shard_rows), rows] if rows else []
    return [
        Shard(index=index, first_row=first, rows=end - first)
        for index, (first, end) in enumerate(zip([0, *ends], ends, strict=False))
    ]


def _automatic_ends(groups: Sequence[RowGroup], rows: int, at_least: int) -> Iterator[int]:
    bounds = list(accumulate(group.rows for group in groups))
    sizes = list(accumulate(group.bytes for group in groups))
    target = min(max(-(-rows // at_least), MIN_SHARD_ROWS), MAX_SHARD_ROWS)
    at = 0
    while at < rows:
        # Dividing the rest evenly leaves no small last shard.
        left = rows - at
        even = -(-left // -(-left // target))
        limit = min(at + MAX_SHARD_ROWS, rows, _end_by_bytes(groups, bounds, sizes, at))
        at = _end_near(bounds, at, min(at + even, limit), min(at + even * 5 // 4, limit))
        yield at


def _end_near(bounds: Sequence[int], at: int, wanted: int, latest: int) -> int:
    """Return the end of the row group nearest to `wanted`, if one is near; else `wanted`."""
    earliest = at + (wanted - at) * 3 // 4
    after = bisect_left(bounds, wanted)
    near = [end for end in bounds[max(after - 1, 0) : after + 1] if earliest < end <= latest]
    return min(near, key=lambda end: abs(end - wanted), default=wanted)


def _end_by_bytes(
    groups: Sequence[RowGroup], bounds: Sequence[int], sizes: Sequence[int], at: int
) -> int:
    """Return the last row position with at most `MAX_SHARD_BYTES` of input after `at`."""
    group = bisect_right(bounds, at)
    into = at - (bounds[group] - groups[group].rows)
    before = sizes[group] - groups[group].bytes
    used = before + groups[group].bytes * into // groups[group].rows
    last = bisect_right(sizes, used + MAX_SHARD_BYTES)
    if last >= len(groups):
        return bounds[-1]
    room = used + MAX_SHARD_BYTES - (sizes[last] - groups[last].bytes)
    start = bounds[last] - groups[last].rows
    # Sizes are known per row group; within one, rows are assumed to be equally large.
    within = room * groups[last].rows // groups[last].bytes
    return max(start + within, at + 1)
