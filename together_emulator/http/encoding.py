"""Decode compressed request bodies."""

import zlib
from collections.abc import Iterable

from together_emulator.http.errors import ApiError, bad_request
from together_emulator.state.settings import Settings

_GZIP = 16 + zlib.MAX_WBITS


def decoded(headers: Iterable[tuple[bytes, bytes]], body: bytes, settings: Settings) -> bytes:
    """Return a request's body without its `Content-Encoding` (gzip, or none).

    Raises:
        ApiError: 415 for another encoding, 400 if it is not gzip, 413 if it becomes too large.
    """
    encoding = next((value for name, value in headers if name == b"content-encoding"), b"")
    if encoding in (b"", b"identity"):
        return body
    if encoding.lower() != b"gzip":
        name = encoding.decode("latin-1")
        raise ApiError(
            415, f"content encoding {name!r} is not supported", code="unsupported_encoding"
        )
    unpacker = zlib.decompressobj(_GZIP)
    try:
        plain = unpacker.decompress(body, settings.max_body_bytes + 1)
    except zlib.error as error:
        raise bad_request(f"request body is not gzip: {error}", code="invalid_encoding") from None
    if len(plain) > settings.max_body_bytes:
        raise ApiError(413, "request body is too large", code="payload_too_large")
    if not unpacker.eof:
        raise bad_request("request body ends in the middle", code="invalid_encoding")
    return plain
