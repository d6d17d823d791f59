"""Features of the operating system beyond POSIX, with fallbacks.

Linux has pidfds, `/proc` and `fdatasync`; macOS has none of them, and its `fsync` leaves data in
the drive's cache. `MAYFLY_SYSTEM=portable` uses the fallbacks on any system, for tests.
"""

import fcntl
import os
import select
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

NOWHERE = Path("/nonexistent")


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """The features of a system.

    Attributes:
        proc: The process file system; a path that does not exist where there is none.
        pidfd_open: Opens a descriptor that becomes readable when a process ends; None without.
        sync_data: Syncs a file's content without its times.
        full_sync: The fcntl command that also empties the drive's cache (macOS, whose `fsync` does
            not); None where `fsync` does.
    """

    proc: Path = NOWHERE
    pidfd_open: Callable[[int], int] | None = None
    sync_data: Callable[[int], None] = os.fsync
    full_sync: int | None = None

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "System":
        """Return the features of this system; none with `MAYFLY_SYSTEM=portable`."""
        if environ.get("MAYFLY_SYSTEM") == "portable":
            return cls()
        return cls(
            proc=Path("/proc"),
            pidfd_open=getattr(os, "pidfd_open", None),
            sync_data=getattr(os, "fdatasync", os.fsync),
            full_sync=getattr(fcntl, "F_FULLFSYNC", None),
        )

    def sync(self, descriptor: int, *, data_only: bool = False) -> None:
        """Sync what was written to a file to the disk (OSError)."""
        if self.full_sync is not None:
            # Some file systems, such as network mounts, refuse it.
            with suppress(OSError):
                fcntl.fcntl(descriptor, self.full_sync)
                return
        (self.sync_data if data_only else os.fsync)(descriptor)

    def watch(self, pid: int) -> int | None:
        """Return a descriptor that becomes readable when a process ends.

        None where the system has none, or a container forbids it: then poll the process, or
        `os.getppid`.

        Raises:
            ProcessLookupError: It has ended.
        """
        if self.pidfd_open is None:
            return None
        try:
            return self.pidfd_open(pid)
        except ProcessLookupError:
            raise
        except OSError:
            return None


SYSTEM = System.of(os.environ)


def wait_for(descriptors: list[int], timeout_s: float | None) -> set[int]:
    """Return the readable descriptors, after at most `timeout_s` seconds.

    It uses `poll`, which accepts any descriptor; `select` rejects those beyond 1023.
    """
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    ready = poll.poll(None if timeout_s is None else max(0, round(timeout_s * 1000)))
    return {descriptor for descriptor, _ in ready}
