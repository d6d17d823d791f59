"""What only Linux has is done without where it is missing: files are synced, ends are noticed."""

import os
from pathlib import Path

import pytest

from mayfly.system import System

PORTABLE = System.of({"MAYFLY_SYSTEM": "portable"})
MACOS = System(full_sync=51)
"""F_FULLFSYNC is 51 there; here the command is unknown, as on a network's file system there."""


def test_without_fdatasync_a_file_is_synced_all_the_same(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        file.write(b"data")
        file.flush()
        PORTABLE.sync(file.fileno(), data_only=True)

    assert PORTABLE.sync_data is os.fsync


def test_a_full_sync_that_is_refused_gives_way_to_fsync(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        MACOS.sync(file.fileno())


def test_what_cannot_be_synced_is_an_error() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        MACOS.sync(99_999)


def test_without_pidfds_a_process_is_not_watched_by_one() -> None:
    assert PORTABLE.watch(os.getpid()) is None


def test_a_container_that_forbids_pidfds_is_like_a_system_without_them() -> None:
    def forbidden(_pid: int) -> int:
        raise PermissionError(1, "Operation not permitted")

    assert System(pidfd_open=forbidden).watch(os.getpid()) is None


@pytest.mark.skipif(not hasattr(os, "fdatasync"), reason="needs fdatasync")
def test_linux_syncs_the_data_only() -> None:
    assert System.of({}).sync_data is os.fdatasync
