"""Detect the media type of an image, sound or video by its content, and the size of an image.

File names and declared types are ignored: a `.png` that holds a JPEG is a JPEG.

Source: the file format signatures of PNG (RFC 2083), JPEG (ITU T.81), GIF89a, RIFF (WebP, WAVE,
AVI), ISO base media (ISO 14496-12), Matroska (RFC 9559), Ogg (RFC 3533), FLAC (RFC 9639),
MPEG audio (ISO 11172-3) and ADTS (ISO 13818-7).
"""

import re
import struct
from typing import Literal

Kind = Literal["image", "audio", "video"]

SIGNATURE_BYTES = 4096
"""Number of leading bytes that determine the type."""

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"fLaC", "audio/flac"),
    (b"ID3", "audio/mpeg"),
    (b"#!AMR", "audio/amr"),
    (b".snd", "audio/basic"),
    (b"FLV\x01", "video/x-flv"),
    (b"\x00\x00\x01\xba", "video/mpeg"),
    (b"\x00\x00\x01\xb3", "video/mpeg"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "video/x-ms-wmv"),
)
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}
_BRANDS = {
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"mif1": "image/heif",
    b"msf1": "image/heif",
    b"M4A ": "audio/mp4",
    b"M4B ": "audio/mp4",
    b"qt  ": "video/quicktime",
}
_CONTAINERS = frozenset({"mp4", "webm", "ogg", "x-matroska", "quicktime", "mpeg", "x-ms-wmv"})
"""Subtypes of containers for sound, video, or both."""

_JPEG_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_SIZED = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp"})
"""Image types with a width and height that can be read here."""


def media_type(data: bytes) -> str | None:
    """Return the media type of content, such as `image/png`; None if unknown."""
    for signature, found in _SIGNATURES:
        if data.startswith(signature):
            return found
    return _container(data) or _by_more_than_a_word(data)


def _container(data: bytes) -> str | None:
    """Return the type of a container, whose format follows the container's own signature."""
    found: str | None = None
    if data[:4] == b"RIFF":
        found = _RIFF.get(data[8:12])
    elif data[4:8] == b"ftyp":
        found = _BRANDS.get(data[8:12], "video/mp4")
    elif data[:4] == b"\x1a\x45\xdf\xa3":
        found = "video/webm" if b"webm" in data[:64] else "video/x-matroska"
    elif data[:4] == b"OggS":
        found = "video/ogg" if b"theora" in data[:64] else "audio/ogg"
    elif data[:4] == b"FORM" and data[8:12] in (b"AIFF", b"AIFC"):
        found = "audio/aiff"
    return found


def _by_more_than_a_word(data: bytes) -> str | None:
    """Return the type of a format with a short signature, which needs further checks."""
    if data[:2] == b"BM" and len(data) >= 26 and data[6:10] == bytes(4):
        return "image/bmp"
    if len(data) > 188 and data[0] == data[188] == 0x47:
        return "video/mp2t"
    return _mpeg_audio(data[:4])


def media_type_as(kind: Kind, data: bytes) -> str | None:
    """Return the media type of content that is used as an image, sound or a video.

    A container has the requested kind, because its signature does not distinguish sound and video.
    """
    found = media_type(data[:SIGNATURE_BYTES])
    if found is None or found.startswith(kind):
        return found
    subtype = found.partition("/")[2]
    return f"{kind}/{subtype}" if kind != "image" and subtype in _CONTAINERS else found


def image_fault(mime: str, data: bytes) -> str:
    """Return what is wrong with an image, as far as its structure shows; "" for nothing."""
    if mime in _SIZED and image_size(data) is None:
        return "is damaged: it has no width and height"
    cut = (mime == "image/png" and b"IEND" not in data) or (
        mime == "image/webp" and int.from_bytes(data[4:8], "little") + 8 > len(data)
    )
    return "is cut off: its end is missing" if cut else ""


def image_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height in pixels of a PNG, JPEG, GIF, WebP or BMP, or None."""
    try:
        if data.startswith(b"\x89PNG"):
            width, height = struct.unpack_from(">II", data, 16)
        elif data.startswith(b"GIF8"):
            width, height = struct.unpack_from("<HH", data, 6)
        elif data.startswith(b"\xff\xd8"):
            width, height = _jpeg_size(data)
        elif data.startswith(b"BM"):
            width, height = map(abs, struct.unpack_from("<ii", data, 18))
        elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            width, height = _webp_size(data)
        else:
            return None
    except struct.error:
        return None
    return (width, height) if width and height else None


def _jpeg_size(data: bytes) -> tuple[int, int]:
    at = 2
    while True:
        # Any number of fill bytes may come before a marker.
        marker, code = struct.unpack_from(">BB", data, at)
        if marker != 0xFF:
            return 0, 0
        if code == 0xFF:
            at += 1
            continue
        if code == 0x01 or 0xD0 <= code <= 0xD8:  # Markers without a length.
            at += 2
            continue
        [length] = struct.unpack_from(">H", data, at + 2)
        if code in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        at += 2 + length


def _webp_size(data: bytes) -> tuple[int, int]:
    form = data[12:16]
    if form == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
        return (width + 1, height + 1) if len(data) >= 30 else (0, 0)
    if form == b"VP8L":
        [bits] = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if form == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return 0, 0


def _mpeg_audio(head: bytes) -> str | None:
    """Return the type of sound without a container: MPEG layers 2 and 3, ADTS."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    if head[1] & 0xF6 == 0xF0:
        return "audio/aac"
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    bitrate, rate = head[2] >> 4, head[2] >> 2 & 3
    valid = version != 1 and layer in (1, 2) and bitrate not in (0, 15) and rate != 3
    return "audio/mpeg" if valid else None


DATA_URL = re.compile(r"data:(?P<mime>[\w.+-]+/[\w.+-]+)?(?:;[\w.+-]+=[\w.+-]*)*;base64,")
"""The beginning of a data URL whose content is base64 (RFC 2397)."""
