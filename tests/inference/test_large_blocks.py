"""Large memory blocks are returned to the system after use."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes
from mayfly.inference.large_blocks import give_large_blocks_back

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena free fast mapped rest".split()]
    _fields_ += [(name, ctypes.c_size_t) for name in "usm fs used unused keep".split()]

mallinfo2 = ctypes.CDLL(None).mallinfo2
mallinfo2.restype = Info
block = bytes(8_000_000)
del block  # From now on blocks of less are the heap's.
before = mallinfo2().mapped
heap = bytes(1_300_000)
assert mallinfo2().mapped == before
give_large_blocks_back()
mapped = bytes(1_300_000)
print(mallinfo2().mapped - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's own ways")
def test_large_blocks_are_mapped_after_larger_ones_were_freed() -> None:
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )

    assert found.stdout.strip() == "1"
