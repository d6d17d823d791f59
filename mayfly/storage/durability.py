"""Getting data onto the disk itself, by what the system at hand has for it."""

import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Durability:
    """How this system makes what was written survive a power cut.

    Attributes:
        full_sync: The fcntl command that also empties the drive's cache (macOS, whose `fsync`
            does not); None where `fsync` does.
        sync_data: Syncs a file's content without its times; `os.fsync` where there is no such
            call (macOS).
    """

    full_sync: int | None
    sync_data: Callable[[int], None]

    @classmethod
    def of(cls, system: Any = os, commands: Any = fcntl) -> "Durability":
        """Return what a system offers, from its modules `os` and `fcntl`."""
        return cls(
            full_sync=getattr(commands, "F_FULLFSYNC", None),
            sync_data=getattr(system, "fdatasync", os.fsync),
        )

    def sync(self, descriptor: int, *, data_only: bool = False) -> None:
        """Return once what was written to a file is on the disk (OSError)."""
        if self.full_sync is not None:
            # Not every file system has it: a network's refuses.
            with suppress(OSError):
                fcntl.fcntl(descriptor, self.full_sync)
                return
        (self.sync_data if data_only else os.fsync)(descriptor)


HERE = Durability.of()
