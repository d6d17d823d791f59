"""Rows with a shared beginning are sent near each other: the endpoint has read it already then.

Prompt caching is always on at the endpoint, and its memory is bounded: what was read long ago is
forgotten. Only the order of sending changes; parts have the order of the input.
"""

from collections.abc import Iterator

from tasks.core.rows import RowRequest
from tasks.inference.prompt import Frame

FIRST_ROWS = 256
WINDOW_ROWS = 4096
"""A window grows from the one to the other, so that the first rows need not wait for many."""

WINDOW_BYTES = 16 * 2**20
COMPARED_BYTES = 4096
"""How much of a prompt's beginning counts; prompts alike so far keep the input's order."""


def by_beginning(requests: Iterator[RowRequest], frame: Frame) -> Iterator[RowRequest]:
    """Yield the requests sorted by how their rows' own parts begin, a window at a time."""
    start = len(frame.head)
    end = start + COMPARED_BYTES

    def beginning(request: RowRequest) -> bytes:
        return request.body[start:end]

    most = FIRST_ROWS
    window: list[RowRequest] = []
    size = 0
    for request in requests:
        window.append(request)
        size += len(request.body)
        if len(window) >= most or size >= WINDOW_BYTES:
            window.sort(key=beginning)
            yield from window
            window.clear()
            size = 0
            most = min(2 * most, WINDOW_ROWS)
    window.sort(key=beginning)
    yield from window
