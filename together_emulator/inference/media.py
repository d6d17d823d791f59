"""Validate images, videos and audio in a message, and estimate their tokens.

A data URL is checked and measured; an https URL is accepted without fetching it, and counts as
medium-sized. Content is never decoded.

Source: Together API, content parts of chat completions. Token counts: an image costs one token for
28 x 28 pixels, as Qwen2.5-VL and its successors count; the other numbers are guesses.
"""

import base64
import binascii
import re
import struct
from typing import Any

from together_emulator.http.errors import bad_request

KINDS = {
    "image_url": "image",
    "video_url": "video",
    "audio_url": "audio",
    "input_audio": "audio",
}
"""Part types, with the kind of content of each."""

_DATA_URL = re.compile(r"^data:(?P<mime>[\w.+-]+/[\w.+-]+)(?:;[\w.+-]+=[\w.+-]+)*;base64,")
_PIXELS = 28
_MOST_IMAGE_TOKENS = 16_384
_UNSEEN_TOKENS = {"image": 1_024, "video": 4_096, "audio": 512}
_AUDIO_TOKENS_PER_S = 25
_AUDIO_BYTES_PER_S = 16_000
_VIDEO_BYTES_PER_TOKEN = 512
_JPEG_SIZES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})


def read_media(part: dict[str, Any], where: str) -> tuple[str, int, str]:
    """Return kind, tokens and URL (or data) of a part that is not text (400).

    Args:
        where: Position for the error, such as `messages[0]`.
    """
    name = part["type"]
    kind = KINDS[name]
    given = part.get(name)
    if not isinstance(given, dict):
        raise bad_request(f"{where}: {name} must be an object", param="messages")
    if name == "input_audio":
        data = given.get("data")
        if not isinstance(data, str) or not data:
            raise bad_request(f"{where}: input_audio needs data", param="messages")
        return kind, _audio_tokens(_decoded(data, where, name)), data
    url = given.get("url")
    if not isinstance(url, str) or not url:
        raise bad_request(f"{where}: {name} needs a url", param="messages")
    if url.startswith(("https://", "http://")):
        return kind, _UNSEEN_TOKENS[kind], url
    match = _DATA_URL.match(url)
    if match is None:
        raise bad_request(
            f"{where}: {name} takes an https URL or data:<mime>;base64,..., got {url[:40]!r}",
            param="messages",
        )
    if match["mime"].split("/", 1)[0] != kind:
        raise bad_request(f"{where}: {name} got content of type {match['mime']}", param="messages")
    raw = _decoded(url[match.end() :], where, name)
    if kind == "image":
        return kind, _image_tokens(raw), url
    if kind == "audio":
        return kind, _audio_tokens(raw), url
    return kind, max(_UNSEEN_TOKENS["image"], len(raw) // _VIDEO_BYTES_PER_TOKEN), url


def _decoded(data: str, where: str, name: str) -> bytes:
    try:
        raw = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise bad_request(f"{where}: {name} is not valid base64", param="messages") from None
    if not raw:
        raise bad_request(f"{where}: {name} is empty", param="messages")
    return raw


def _image_tokens(raw: bytes) -> int:
    size = image_size(raw)
    if size is None:
        return _UNSEEN_TOKENS["image"]
    across, down = (max(1, -(-pixels // _PIXELS)) for pixels in size)
    return min(across * down, _MOST_IMAGE_TOKENS)


def image_size(raw: bytes) -> tuple[int, int] | None:
    """Return width and height in pixels of a PNG, GIF or JPEG; None for anything else."""
    try:
        if raw.startswith(b"\x89PNG\r\n\x1a\n"):
            width, height = struct.unpack_from(">II", raw, 16)
        elif raw[:6] in (b"GIF87a", b"GIF89a"):
            width, height = struct.unpack_from("<HH", raw, 6)
        elif raw.startswith(b"\xff\xd8"):
            width, height = _jpeg_size(raw)
        else:
            return None
    except struct.error:
        return None
    return (width, height) if width and height else None


def _jpeg_size(raw: bytes) -> tuple[int, int]:
    at = 2
    while True:
        marker, kind, length = struct.unpack_from(">BBH", raw, at)
        if marker == 0xFF and kind in _JPEG_SIZES:
            height, width = struct.unpack_from(">HH", raw, at + 5)
            return width, height
        at += 2 + length if marker == 0xFF else 1


def _audio_tokens(raw: bytes) -> int:
    per_s = _AUDIO_BYTES_PER_S
    if raw.startswith(b"RIFF") and raw[8:12] == b"WAVE" and len(raw) >= 32:
        per_s = struct.unpack_from("<I", raw, 28)[0] or per_s
    return max(1, _AUDIO_TOKENS_PER_S * len(raw) // per_s)
