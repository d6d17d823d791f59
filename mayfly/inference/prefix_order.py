"""Rows with a shared beginning are sent near each other: the endpoint has read it already then.

Prompt caching is always on at the endpoint, and its memory is bounded: what was read long ago is
forgotten. Only the order of sending changes; parts have the order of the input.
"""

from collections.abc import Iterator
from itertools import islice

from mayfly.inference.request_builder import Frame
from mayfly.models.rows import RowRequest

FIRST_ROWS = 256
WINDOW_ROWS = 16_384
WINDOW_BYTES = 16 * 2**20
"""A window has at most so much. It grows from the first on, so that the first rows need not wait
for many, and fills while the one before is sent, so that no row ever waits for a whole window."""

LARGE_ROW_BYTES, LARGE_WINDOW_BYTES = 64 * 2**10, 2 * 2**20
"""Rows that are larger on average, such as those with images, wait in a smaller window: what is
worth finding in their beginnings is small beside the rest."""

GROWTH = 8
"""How many rows are read for each that is sent."""

COMPARED_BYTES = 4096
"""How much of a prompt's beginning counts; prompts alike so far keep the input's order."""


def by_prefix(requests: Iterator[RowRequest], frame: Frame) -> Iterator[RowRequest]:
    """Yield the requests sorted by how their rows' own parts begin, a window at a time."""
    start = len(frame.head)
    end = start + COMPARED_BYTES

    def beginning(request: RowRequest) -> bytes:
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
        # Taken from its end, so that what is sent is not held.
        window.sort(key=beginning)
        window.reverse()
        following, size = [], 0
        while window:
            yield window.pop()
            if not is_full() and len(following) < WINDOW_ROWS:
                read(GROWTH)
