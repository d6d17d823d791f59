"""Undo an encoding of an answer's body that nobody asked for, but some gateways apply."""

import zlib
from collections.abc import Callable

MAX_DECODED_BYTES = 256 * 2**20
"""A body that would be larger is no answer to one row."""

_GZIP, _ZLIB = 0x1F, 0x78
"""First bytes of what zlib has packed; no JSON and no text of ours begins so."""


def decoded(body: memoryview, header: Callable[[str], str | None]) -> memoryview:
    """Return a body as the server meant it; one that is not packed, or not whole, as it is.

    The first byte is looked at before any header, because this runs for each answer.
    """
    if not body or body[0] not in (_GZIP, _ZLIB):
        return body
    named = (header("content-encoding") or "").lower()
    packed = bytes(body[:2]) == b"\x1f\x8b" or "deflate" in named or "gzip" in named
    if not packed:
        return body
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    try:
        plain = unpacker.decompress(body, MAX_DECODED_BYTES)
    except zlib.error:
        return body
    return memoryview(plain) if unpacker.eof else body
