"""Estimate the prompt tokens of images, audio and video before any run has measured them.

Rules of thumb: an image has one token per 28 x 28 pixels (Qwen2.5-VL and its successors; others
are within a factor of two), audio has 25 tokens per second (Whisper's encoder, pooled as in
Qwen-Audio), and a video has about 1,024 tokens. An image whose size is unknown, such as one given
by URL, counts as a million pixels. Finished runs correct the total by the billed tokens.
"""

import binascii
from typing import Any

from mayfly.inference.media_types import DATA_URL, image_size

PIXELS_PER_TOKEN = 28 * 28
MOST_IMAGE_TOKENS = 16_384
UNSEEN_IMAGE_TOKENS = 1_024
VIDEO_TOKENS = 1_024
AUDIO_TOKENS_PER_S = 25
AUDIO_BYTES_PER_S = 16_000
"""Compressed audio at 128 kbit/s."""

HEAD_CHARACTERS = 4 * 2**16
"""Base64 characters of an image's header, which holds its width and height."""


def part_tokens(part: dict[str, Any]) -> float:
    """Return the estimated tokens of a media content part; 0 for any other part."""
    for name in ("image_url", "audio_url", "video_url"):
        given = part.get(name)
        if isinstance(given, dict) and isinstance(given.get("url"), str):
            return _tokens(name, given["url"])
        if isinstance(given, str):
            return _tokens(name, given)
    return 0.0


def _tokens(name: str, url: str) -> float:
    found = DATA_URL.match(url)
    if name == "video_url":
        return VIDEO_TOKENS
    if name == "audio_url":
        size = 0 if found is None else (len(url) - found.end()) * 3 // 4
        return max(AUDIO_TOKENS_PER_S, AUDIO_TOKENS_PER_S * size / AUDIO_BYTES_PER_S)
    if found is None:
        return UNSEEN_IMAGE_TOKENS
    head = url[found.end() : found.end() + HEAD_CHARACTERS]
    try:
        size_px = image_size(binascii.a2b_base64(head[: len(head) // 4 * 4]))
    except (binascii.Error, ValueError):
        size_px = None
    if size_px is None:
        return UNSEEN_IMAGE_TOKENS
    return min(max(1.0, size_px[0] * size_px[1] / PIXELS_PER_TOKEN), MOST_IMAGE_TOKENS)
