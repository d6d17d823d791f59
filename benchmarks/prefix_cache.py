"""A simulation of vLLM's prompt cache: blocks of prompt prefixes with LRU eviction."""

import zlib
from collections import OrderedDict

BLOCK_BYTES, BLOCK_TOKENS = 64, 16


class PrefixCache:
    """Caches a number of blocks; a prompt hits the cache with its longest cached prefix.

    Source: vLLM, automatic prefix caching (blocks of 16 tokens, identified by their whole prefix,
    LRU eviction).
    """

    def __init__(self, blocks: int) -> None:
        self._most = blocks
        self._seen: OrderedDict[int, None] = OrderedDict()

    def read(self, prompt: bytes) -> tuple[int, int]:
        """Add a prompt; return its tokens, and how many of them were cached."""
        known, digest, unbroken = 0, 0, True
        for start in range(0, len(prompt) - BLOCK_BYTES + 1, BLOCK_BYTES):
            digest = zlib.crc32(prompt[start : start + BLOCK_BYTES], digest)
            unbroken = unbroken and digest in self._seen
            known += unbroken
            self._seen[digest] = None
            self._seen.move_to_end(digest)
        while len(self._seen) > self._most:
            self._seen.popitem(last=False)
        return len(prompt) // 4, known * BLOCK_TOKENS
