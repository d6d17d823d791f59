"""Data gets onto the disk by what the system has: Linux's calls, macOS's, or neither."""

import fcntl
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from mayfly.storage.durability import Durability

MACOS = SimpleNamespace(F_FULLFSYNC=51)
NO_FDATASYNC = SimpleNamespace()


def test_without_fdatasync_a_file_is_synced_all_the_same(tmp_path: Path) -> None:
    durability = Durability.of(NO_FDATASYNC, SimpleNamespace())

    with (tmp_path / "file").open("wb") as file:
        file.write(b"data")
        file.flush()
        durability.sync(file.fileno(), data_only=True)

    assert durability.sync_data is os.fsync


def test_a_full_sync_that_is_refused_gives_way_to_fsync(tmp_path: Path) -> None:
    # Here the command is unknown, as on a network's file system on macOS.
    durability = Durability.of(NO_FDATASYNC, MACOS)

    with (tmp_path / "file").open("wb") as file:
        durability.sync(file.fileno())

    assert durability.full_sync == MACOS.F_FULLFSYNC


def test_what_cannot_be_synced_is_an_error() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        Durability.of(NO_FDATASYNC, MACOS).sync(99_999)


@pytest.mark.skipif(not hasattr(os, "fdatasync"), reason="needs fdatasync")
def test_linux_syncs_the_data_only() -> None:
    assert Durability.of(os, fcntl).sync_data is os.fdatasync
