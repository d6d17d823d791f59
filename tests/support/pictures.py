"""Small images, sound and videos, as bytes."""

import random
import struct
import zlib


def png(width: int = 56, height: int = 56, *, more_bytes: int = 0) -> bytes:
    """Return a red PNG; `more_bytes` of noise, always the same, make it larger."""
    pixels = b"".join(b"\0" + b"\xc8\x1e\x1e" * width for _ in range(height))
    noise = random.Random(more_bytes).randbytes(more_bytes)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
            _chunk(b"tEXt", b"noise\0" + noise) if more_bytes else b"",
            _chunk(b"IDAT", zlib.compress(pixels)),
            _chunk(b"IEND", b""),
        )
    )


def jpeg(width: int = 56, height: int = 56, *, meta_bytes: int = 0) -> bytes:
    """Return the frame of a JPEG, with so much before it as a camera's notes."""
    notes = b"\xff\xe1" + struct.pack(">H", meta_bytes + 2) + bytes(meta_bytes)
    size = struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\x01\x11\x00"
    return b"\xff\xd8" + notes + b"\xff\xc0" + size + b"\xff\xda\x00\x02\x00\xff\xd9"


def gif(width: int = 56, height: int = 56) -> bytes:
    """Return a GIF without a frame."""
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0) + b";"


def webp(width: int = 56, height: int = 56) -> bytes:
    """Return the frame of a WebP."""
    sizes = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    data = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + sizes
    return b"RIFF" + struct.pack("<I", len(data)) + data


def bmp(width: int = 56, height: int = 56) -> bytes:
    """Return the head of a BMP."""
    return b"BM" + struct.pack("<IIIIii", 54, 0, 54, 40, width, height) + bytes(28)


def wav(seconds: float = 1.0) -> bytes:
    """Return silence at 16 kHz."""
    data = bytes(int(32_000 * seconds))
    form = struct.pack("<IHHIIHH", 16, 1, 1, 16_000, 32_000, 2, 16)
    chunks = b"WAVEfmt " + form + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(chunks)) + chunks


def mp4(size: int = 256) -> bytes:
    """Return the head of an MP4, with nothing in it."""
    return b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isommp42" + bytes(size)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
