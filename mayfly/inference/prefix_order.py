"""Send rows with a common prefix one after another, so that the endpoint has it cached.

Prompt caching is always on at the endpoint, but its memory is bounded, so old prefixes are evicted.
Only the order of sending changes; parts have the order of the input.
"""

from collections.abc import Iterator
from itertools import islice

from mayfly.inference.request_builder import Frame
from mayfly.models.rows import RowRequest

FIRST_ROWS = 256
WINDOW_ROWS = 16_384
WINDOW_BYTES = 32 * 2**20
"""Maximum size of a window. The first window is small, so that sending starts early, and the next
one fills while its predecessor is sent, so that no row waits for a whole window to be read."""

LARGE_ROW_BYTES, LARGE_WINDOW_BYTES = 64 * 2**10, 2 * 2**20
"""Rows that are larger on average, such as those with images, have a smaller window: their common
prefixes are short compared to the rest."""

GROWTH = 8
"""Rows read for each row sent."""

COMPARED_BYTES = 4096
"""Length of the prefix that is compared; rows with equal prefixes keep the input's order."""


def by_prefix(requests: Iterator[RowRequest], frame: Frame) -> Iterator[RowRequest]:
    """Yield the requests sorted by the prefixes of their rows' own parts, window by window."""
    start = len(frame.head)
    end = start + COMPARED_BYTES

    def prefix(request: RowRequest) -> bytes:
        return request.body[start:end]

    following: list[RowRequest] = []
    size = 0

    def is_full() -> bool:
        large = size >= LARGE_ROW_BYTES * len(following)
        return size >= (LARGE_WINDOW_BYTES if large else WINDOW_BYTES)

    def read(rows: int) -> None:
        nonlocal size
        for request in islice(requests, rows):
            following.append(request)
            size += len(request.body)
            if is_full():
                return

    read(FIRST_ROWS)
    while window := following:
        # Rows are popped from the end, so that sent ones are not held.
        window.sort(key=prefix)
        window.reverse()
        following, size = [], 0
        while window:
            yield window.pop()
            if not is_full() and len(following) < WINDOW_ROWS:
                read(GROWTH)
