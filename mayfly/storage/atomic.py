"""Files that are either the old one or the new one, also after a power cut."""

import os
import threading
from itertools import count
from pathlib import Path

from mayfly.system import SYSTEM

_serial = count()


def temporary_beside(path: Path) -> Path:
    """Return a name in the same folder that no other process or thread uses and readers skip."""
    return path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}-{next(_serial)}.tmp")


def write_atomically(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace a file by new content; what is on disk is the old content or the new, never less.

    Raises:
        OSError: When it could not be written; the old content stands and nothing is left over.
    """
    temporary = temporary_beside(path)
    try:
        with open(temporary, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.write(data)
            file.flush()
            SYSTEM.sync(file.fileno())
        move_into_place(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def move_into_place(temporary: Path, path: Path) -> None:
    """Rename a file that has been synced, and sync the folder that names it."""
    temporary.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames and deletions in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        SYSTEM.sync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path, *, mode: int = 0o777) -> None:
    """Create a folder and its parents, each synced into the one above."""
    if folder.is_dir():
        return
    make_folder(folder.parent, mode=mode)
    folder.mkdir(mode=mode, exist_ok=True)
    sync_folder(folder.parent)
