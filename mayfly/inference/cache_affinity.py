"""Route rows with a common prefix to one replica, which has it in its prompt cache.

An endpoint with several replicas sends a request without a key to any of them, so each has to
process the prefix. Rows with a common prefix get one `prompt_cache_key`; a long sequence of them
gets several, so that all replicas have work.

Source: Together API, dedicated model inference (routing is sticky by `prompt_cache_key`).
"""

import zlib
from collections.abc import Iterator

from mayfly.inference.request_builder import Frame
from mayfly.models.rows import RowRequest

MIN_SHARED_BYTES, MIN_SHARED_PART, MAX_SHARED_BYTES = 256, 2, 4096
"""Bytes that must be equal for a common prefix: half of the first row, within bounds. A prefix
shared by all rows of a job is short compared to the rest, or else cached on every replica."""

MAX_ROWS = 16
"""Rows per key: fewer than a replica processes at once."""

_NAME = b'"prompt_cache_key"'


def with_cache_keys(requests: Iterator[RowRequest], frame: Frame) -> Iterator[RowRequest]:
    """Yield requests, in order, with a `prompt_cache_key` if neighbours have a common prefix.

    A row without such a neighbour gets none, so that any replica can take it.
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
    """Rows with a common prefix.

    Args:
        prefix: What each of them begins with.
    """

    def __init__(self, prefix: bytes) -> None:
        self._prefix = prefix
        self._digest = zlib.crc32(prefix)
        self._rows = 0

    def holds(self, body: bytes, start: int) -> bool:
        """Whether a row has the prefix."""
        return bool(self._prefix) and body.startswith(self._prefix, start)

    def key(self) -> bytes:
        """Return the key for its next row: the same in every shard and after a resume."""
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
