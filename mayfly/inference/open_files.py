"""The number of connections that the operating system allows this process."""

from contextlib import suppress
from pathlib import Path

WANTED_FILES = 65_536
"""More than a run ever has open; some systems reject a larger number."""

RESERVED_FILES = 96
"""Reserved for files, journals, pipes and the control plane."""

MIN_CONNECTIONS = 1


def max_connections() -> int:
    """Raise the limit on open files as far as possible; return how many connections it allows."""
    try:
        import resource  # noqa: PLC0415 - only where there is one
    except ImportError:  # Windows
        return WANTED_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return WANTED_FILES
    wanted = WANTED_FILES if hard == resource.RLIM_INFINITY else min(hard, WANTED_FILES)
    if soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return max(soft - open_files() - RESERVED_FILES, MIN_CONNECTIONS)


def open_files() -> int:
    """Return the number of files that this process has open; 0 if unknown."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        with suppress(OSError):
            return sum(1 for _ in Path(folder).iterdir())
    return 0
