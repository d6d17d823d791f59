"""A disk that hangs, for real processes: calls on files below a folder wait while a flag is there.

A library that is preloaded holds them, as a network mount does whose server is away. It is compiled
from `hung_disk.c` by the system's compiler; without one, tests that need it are skipped.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.machine import Launcher

SOURCE = Path(__file__).with_suffix(".c")


class HungDisk:
    """The disk below one folder.

    Attributes:
        environment: What a process needs in its environment for the disk to be its own, beside the
            preloaded library.
    """

    def __init__(self, below: Path) -> None:
        self._flag = below.with_name(f"{below.name}.hangs")
        self.environment: dict[str, str | None] = {
            "HUNG_DISK": f"{below}/",
            "HUNG_DISK_WHILE": str(self._flag),
        }

    def hang(self) -> None:
        """Let every call wait from now on."""
        self._flag.touch()

    def come_back(self) -> None:
        """Let all that wait go on."""
        self._flag.unlink(missing_ok=True)


def compiled_library(folder: Path) -> Path:
    """Compile the library that holds calls; skip the test where that cannot be done."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not sys.platform.startswith("linux") or compiler is None:
        pytest.skip("a disk that hangs is made by a preloaded library: Linux and a C compiler")
    library = folder / "hung_disk.so"
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode:
        pytest.skip(f"the C compiler cannot build {SOURCE.name}: {built.stderr[:300]}")
    return library


@contextmanager
def launcher_with_hung_disk(library: Path, environ: dict[str, str]) -> Iterator[Launcher]:
    """Start a launcher whose commands can have a `HungDisk`."""
    launcher = Launcher({**os.environ, **environ, "LD_PRELOAD": str(library)})
    try:
        yield launcher
    finally:
        launcher.close()
