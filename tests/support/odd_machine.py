"""A machine whose disk hangs and whose clock is set, for real processes.

A library that is preloaded holds calls on files, as a network mount does whose server is away, and
adds to Unix time. It is compiled from `odd_machine.c` by the system's compiler; without one, tests
that need it are skipped.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.machine import Launcher

SOURCE = Path(__file__).with_suffix(".c")


class OddMachine:
    """The disk below some folders, and a clock.

    Attributes:
        environment: What a process has in its environment to be on this machine, beside the
            preloaded library.
    """

    def __init__(self, state: Path, *below: Path) -> None:
        self._hangs, self._step = state / "disk-hangs", state / "clock-step"
        self.environment: dict[str, str | None] = {
            "HUNG_DISK": ":".join(f"{folder}/" for folder in below),
            "HUNG_DISK_WHILE": str(self._hangs),
            "CLOCK_STEP": str(self._step),
        }

    def hang(self) -> None:
        """Let every call on the disk wait from now on."""
        self._hangs.touch()

    def come_back(self) -> None:
        """Let all waiting calls continue."""
        self._hangs.unlink(missing_ok=True)

    def step_clock(self, seconds: int) -> None:
        """Set the clock so many seconds off."""
        new = self._step.with_suffix(".new")
        new.write_text(str(seconds))
        new.replace(self._step)


def compiled_library(folder: Path) -> Path | None:
    """Compile the library; None where that cannot be done."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not sys.platform.startswith("linux") or compiler is None:
        return None
    library = folder / "odd_machine.so"
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"]
    built = subprocess.run(command, capture_output=True, check=False)
    return None if built.returncode else library


@contextmanager
def launcher_of_odd_machines(folder: Path, environ: Mapping[str, str]) -> Iterator[Launcher]:
    """Start a launcher whose commands can be on an `OddMachine`; skip the test without a compiler.

    Args:
        folder: For the library.
    """
    library = compiled_library(folder)
    if library is None:
        pytest.skip("a disk that hangs takes a preloaded library: Linux and a C compiler")
    launcher = Launcher({**os.environ, **environ, "LD_PRELOAD": str(library)})
    try:
        yield launcher
    finally:
        launcher.close()
