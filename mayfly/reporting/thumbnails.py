"""Thumbnails of input images for the page; nothing is fetched and no file is read."""

import base64
import binascii
import io
from contextlib import suppress
from typing import Any
from urllib.parse import unquote_to_bytes

from mayfly.storage.cells import shown

SIDE_PX = 240
MAX_BYTES = 128 * 2**10
"""A larger image that cannot be scaled down is named instead of shown."""

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
)


def thumbnail(value: Any) -> dict[str, str]:
    """Return an image for the page: `text`, and `src` (a data URL) where possible.

    Args:
        value: A cell of an image column: bytes, a data URL, a URL, a path, or a struct of `bytes`
            and `path`. URLs and paths are only named: a report reads nothing from outside.
    """
    name = ""
    if isinstance(value, dict):
        name = str(value.get("path") or value.get("url") or "")
        value = value.get("bytes") or name
    if isinstance(value, str) and value.startswith("data:"):
        value = _of_data_url(value)
        if value is None:
            return {"text": "a data URL that cannot be read"}
    if not isinstance(value, bytes):
        return {"text": _short(shown(value))}
    text = _short(name) or f"{len(value):,} bytes"
    small = _smaller(value)
    kind = _kind(small)
    if kind is None or len(small) > MAX_BYTES:
        return {"text": text}
    return {"src": f"data:{kind};base64,{base64.b64encode(small).decode()}", "text": text}


def _of_data_url(url: str) -> bytes | None:
    head, comma, body = url.partition(",")
    if not comma:
        return None
    if not head.endswith(";base64"):
        return unquote_to_bytes(body)
    try:
        return base64.b64decode(body)
    except (binascii.Error, ValueError):
        return None


def _kind(data: bytes) -> str | None:
    """Return the media type of an image that browsers support and that cannot hold a script."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for magic, kind in _MAGIC if data.startswith(magic)), None)


def _smaller(data: bytes) -> bytes:
    """Return the image scaled down if Pillow is installed and can read it; else unchanged."""
    if len(data) <= 16 * 2**10:
        return data
    with suppress(Exception):
        from PIL import Image  # noqa: PLC0415 - optional, and for images only

        with Image.open(io.BytesIO(data)) as image:
            image.thumbnail((SIDE_PX, SIDE_PX))
            out = io.BytesIO()
            image.convert("RGB").save(out, "JPEG", quality=75)
        return out.getvalue()
    return data


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:40]}...{text[-37:]}"
