"""Parse a reply's bytes as JSON as far as possible, so that a paid response is not lost.

Called after the strict parser has failed: a lone surrogate, a byte-order mark, raw control
characters, bytes that are not UTF-8, NaN, text after the value, an unrequested compression, or a
stream of events.
"""

import json
import zlib
from typing import Any, Final

import orjson

from mayfly.inference.event_stream import assembled, is_event_stream
from mayfly.models.texts import cleaned

LARGEST_BYTES = 256 * 2**20
"""Maximum size of a decompressed body."""

MAX_LAYERS = 3
"""Maximum layers of compression: the server and each proxy may add one."""

MAX_BEGINNING = 1000

MAX_CHARS = 64 * 2**20

NOT_JSON: Final = object()
"""Returned by `loads` for a body without any JSON."""

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


def loads(body: bytes) -> Any:
    """Return the JSON value that a body begins with, or NOT_JSON; never raises."""
    data = decompressed(body)
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    for text in _texts(data):
        if is_event_stream(text):
            try:
                return cleaned(assembled(text))
            except (ValueError, RecursionError):
                continue
        start = len(text) - len(text.lstrip("\ufeff \t\r\n\0"))
        if len(text) - start > MAX_CHARS or start == len(text):
            continue
        try:
            value, end = _DECODER.raw_decode(text, start)
            if _is_piece(value) and text[end:].lstrip().startswith("{"):
                value = assembled("".join(f"data: {line}\n" for line in text.splitlines()))
            return cleaned(value)
        except (ValueError, RecursionError):
            continue
    return NOT_JSON


def _is_piece(value: Any) -> bool:
    """Whether an object is the first of a stream: one on each line, without its events' names."""
    choices = value.get("choices") if isinstance(value, dict) else None
    return isinstance(choices, list) and any(
        isinstance(choice, dict) and "delta" in choice for choice in choices
    )


def unreadable(body: bytes) -> tuple[str, bool]:
    """Return the beginning of a body that is not JSON, and whether it is a complete object.

    A complete object that our parser rejects was paid for, and a retry would return the same.
    """
    data = decompressed(body).strip()
    return data[:MAX_BEGINNING].decode(errors="replace"), data[:1] + data[-1:] == b"{}"


def decompressed(data: bytes) -> bytes:
    """Return a body decompressed, by its first bytes; unchanged if it is not compressed."""
    for _ in range(MAX_LAYERS):
        before, data = data, _opened(data)
        if data is before:
            break
    return data


def _opened(data: bytes) -> bytes:
    try:
        if data.startswith(_GZIP):
            return _inflate(data, 16 + zlib.MAX_WBITS)
        if data.startswith(_ZSTD):
            return _zstd(data)
        # zlib's header: the method, and a checksum that is a multiple of 31.
        if len(data) > 2 and data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0:
            return _inflate(data, zlib.MAX_WBITS)
        if data[:1] and data[0] not in b'{[ \t\r\n\xef\xff\xfe"':
            return _inflate(data, -zlib.MAX_WBITS)
    except (zlib.error, ValueError):
        pass
    return data


def _inflate(data: bytes, window: int) -> bytes:
    found = bytearray()
    while True:
        stream = zlib.decompressobj(window)
        found += stream.decompress(data, LARGEST_BYTES - len(found))
        data = stream.unused_data
        # A server that compresses in pieces sends several members.
        if not data.startswith(_GZIP) or len(found) >= LARGEST_BYTES:
            return bytes(found)


def _zstd(data: bytes) -> bytes:
    try:
        import zstandard  # noqa: PLC0415 - hardly ever needed
    except ImportError:
        return data
    try:
        with zstandard.ZstdDecompressor().stream_reader(data) as reader:
            return bytes(reader.read(LARGEST_BYTES))
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error


def _texts(data: bytes) -> list[str]:
    found = json.detect_encoding(data)
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return [data.decode(found, errors="replace")]
    # By its zero bytes; they may also be in front of UTF-8.
    other = [data.decode(found, errors="replace")] if found[:6] in ("utf-16", "utf-32") else []
    return [data.decode("utf-8", errors="replace"), *other]


def _integer(digits: str) -> int | float:
    """Parse an integer as orjson does: beyond 64 bits it becomes a float."""
    return int(digits) if len(digits) < 19 else float(digits)


_DECODER = json.JSONDecoder(strict=False, parse_int=_integer)
