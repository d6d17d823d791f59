"""Keep rows with a shared beginning on one replica, where it is in the prompt cache already.

An endpoint with several replicas sends a request without a key to any of them, so that each has to
read the beginning by itself. Rows that begin alike get one `prompt_cache_key`; a long run of them
gets several, so that all replicas have work.

Source: Together API, dedicated model inference (routing is sticky by `prompt_cache_key`).
"""

import zlib
from collections.abc import Iterator

from mayfly.inference.request_builder import Frame
from mayfly.models.rows import RowRequest

MIN_SHARED_BYTES, MIN_SHARED_PART, MAX_SHARED_BYTES = 256, 2, 4096
"""Rows begin alike when so many bytes of them are equal: a part of the first, within bounds. What
all rows of a job have in common is short beside what differs, or else the same on every replica."""

MAX_ROWS = 16
"""Rows with one key: fewer than a replica works on at once."""

_NAME = b'"prompt_cache_key"'


def with_cache_keys(requests: Iterator[RowRequest], frame: Frame) -> Iterator[RowRequest]:
    """Yield requests, in order, with a `prompt_cache_key` where neighbours begin alike.

    A row that begins as no neighbour does gets none: it may go wherever there is room.
    """
    start = len(frame.head)
    group = _Group(b"")
    held: RowRequest | None = None
    shared = False
    for request in requests:
        belongs = group.holds(request.body, start)
        if held is not None:
            yield _keyed(held, group.key()) if shared or belongs else held
        if not belongs:
            group = _Group(request.body[start : start + _length(request.body, start)])
        held, shared = request, belongs
    if held is not None:
        yield _keyed(held, group.key()) if shared else held


class _Group:
    """Rows that begin alike.

    Args:
        beginning: What each of them begins with.
    """

    def __init__(self, beginning: bytes) -> None:
        self._beginning = beginning
        self._digest = zlib.crc32(beginning)
        self._rows = 0

    def holds(self, body: bytes, start: int) -> bool:
        """Whether a row begins as these do."""
        return bool(self._beginning) and body.startswith(self._beginning, start)

    def key(self) -> bytes:
        """Return the key of its next row: the same on every shard and after a resume."""
        part, self._rows = self._rows // MAX_ROWS, self._rows + 1
        return b"%08x-%d" % (self._digest, part)


def _length(body: bytes, start: int) -> int:
    own = len(body) - start
    return (
        0
        if own < MIN_SHARED_BYTES
        else min(max(own // MIN_SHARED_PART, MIN_SHARED_BYTES), MAX_SHARED_BYTES)
    )


def _keyed(request: RowRequest, key: bytes) -> RowRequest:
    body = request.body
    if not body.endswith(b"}") or _NAME in body:  # An error of its row, or the user's own key.
        return request
    return request._replace(body=b'%b,%b:"%b"}' % (body[:-1], _NAME, key))
