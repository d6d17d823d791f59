"""Return the memory of large requests to the system when they are answered."""

import ctypes
from contextlib import suppress

M_MMAP_THRESHOLD = -3
LARGE_BYTES = 256 * 2**10


def give_large_blocks_back() -> None:
    """Let glibc map each block of 256 KiB or more separately; no effect with another libc.

    By default that threshold rises to the largest block that was ever freed, 32 MiB at most.
    Requests with images then come from the heap of the rendering thread, and each heap fragments:
    520 MB after a thousand requests of 1.3 MB, of which 190 MB were in use.

    Source: mallopt(3), M_MMAP_THRESHOLD.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
