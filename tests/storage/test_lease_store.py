"""Leases on disk: written before an endpoint exists, removed only after it is deleted."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mayfly.models.errors import BadRequest, TerminalError
from mayfly.models.lease import Lease, Owner
from mayfly.storage.lease_store import DamagedLease, LeaseStore, read_lease, state_home
from mayfly.storage.run_paths import RunPaths
from tests.support.leases import lease_of

ME = Owner(host="here", pid=7, started_at=1.5, user="me")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def store(home: Path) -> LeaseStore:
    return LeaseStore(home)


@pytest.fixture
def lease(tmp_path: Path) -> Lease:
    (tmp_path / "out").mkdir()
    return lease_of(ME, output=str(tmp_path / "out"))


def copy_of(lease: Lease) -> Path:
    return RunPaths(Path(lease.output)).lease


def test_open_lease_is_in_the_store_and_the_run_folder(store: LeaseStore, lease: Lease) -> None:
    store.open(lease)

    assert store.find(lease.name) == lease
    assert store.list().open == (lease,)
    assert read_lease(copy_of(lease)) == lease


def test_lease_is_readable_by_its_user_only(store: LeaseStore, lease: Lease) -> None:
    store.open(lease)

    assert store.path(lease.name).stat().st_mode & 0o077 == 0
    assert store.folder.stat().st_mode & 0o077 == 0


def test_heartbeat_is_visible_to_another_process(
    store: LeaseStore, home: Path, lease: Lease
) -> None:
    store.open(lease)

    renewed = store.renew(lease, 1015.25)

    assert renewed.heartbeat_at == 1015.25
    assert LeaseStore(home).find(lease.name) == renewed
    assert read_lease(copy_of(lease)) == renewed


def test_update_keeps_known_fields_and_the_latest_heartbeat(
    store: LeaseStore, lease: Lease
) -> None:
    store.open(lease)
    store.renew(lease, 1600.0)

    store.update(replace(lease, ref=replace(lease.ref, endpoint_id="ep-1"), ready_at=1500.0))

    found = store.find(lease.name)
    assert isinstance(found, Lease)
    assert found.ref.endpoint_id == "ep-1"
    assert found.ready_at == 1500.0
    assert found.heartbeat_at == 1600.0


def test_closed_lease_is_removed_and_close_is_idempotent(store: LeaseStore, lease: Lease) -> None:
    store.open(lease)

    store.close(lease)
    store.close(lease)

    assert store.list() == ((), ())
    assert store.find(lease.name) is None
    assert not copy_of(lease).exists()


def test_late_heartbeat_does_not_recreate_a_closed_lease(store: LeaseStore, lease: Lease) -> None:
    store.open(lease)
    store.close(lease)

    store.renew(lease, 1015.0)

    assert store.list().open == ()


def test_heartbeat_recreates_a_lease_removed_from_outside(store: LeaseStore, lease: Lease) -> None:
    store.open(lease)
    store.path(lease.name).unlink()

    renewed = store.renew(lease, 1015.0)

    assert store.list().open == (renewed,)


def test_lease_survives_removal_of_the_run_folder(store: LeaseStore, lease: Lease) -> None:
    store.open(lease)
    copy_of(lease).unlink()
    copy_of(lease).parent.rmdir()

    renewed = store.renew(lease, 1015.0)
    store.update(renewed)
    assert store.list().open == (renewed,)

    store.close(lease)
    assert store.list().open == ()


def test_lease_of_another_owner_cannot_be_opened(store: LeaseStore, lease: Lease) -> None:
    store.open(lease)

    with pytest.raises(TerminalError, match="held by process 7 on here"):
        store.open(replace(lease, owner=replace(ME, pid=8)))

    assert store.find(lease.name) == lease


def test_damaged_lease_is_reported_by_endpoint_name(store: LeaseStore, lease: Lease) -> None:
    other = replace(lease, ref=replace(lease.ref, name="team/other"), output="")
    store.open(lease)
    store.open(other)
    path = store.path("team/other")
    path.write_bytes(path.read_bytes()[:40])

    open_leases, [damaged] = store.list()

    assert open_leases == (lease,)
    assert damaged.name == "team/other"
    assert "may" not in damaged.reason
    assert "if endpoint team/other still exists" in str(damaged)
    assert isinstance(store.find("team/other"), DamagedLease)
    with pytest.raises(TerminalError, match="cannot be read"):
        store.open(other)


def test_close_of_one_lease_keeps_the_copy_of_the_next(store: LeaseStore, lease: Lease) -> None:
    following = replace(lease, ref=replace(lease.ref, name="following"))
    store.open(lease)
    store.open(following)

    store.close(lease)

    assert read_lease(copy_of(lease)) == following


def test_temporary_file_of_a_killed_process_is_no_lease(store: LeaseStore, lease: Lease) -> None:
    store.open(lease)
    (store.folder / f".{lease.name}.json.1-2-3.tmp").write_text("{")

    assert store.list() == ((lease,), ())


def test_missing_lease_store_is_empty(store: LeaseStore, home: Path) -> None:
    assert store.list() == ((), ())
    assert not home.exists()


def test_unwritable_lease_prevents_create(home: Path, store: LeaseStore, lease: Lease) -> None:
    home.write_text("a file where the folder should be")

    with pytest.raises(TerminalError, match="nothing was created"):
        store.open(lease)


def test_lease_without_its_copy_is_not_left_open(store: LeaseStore, lease: Lease) -> None:
    (Path(lease.output) / "_mayfly").write_text("a file where the folder should be")

    with pytest.raises(TerminalError, match="nothing was created"):
        store.open(lease)

    assert store.list() == ((), ())


FULL = """
import resource, signal, sys
from dataclasses import replace
from pathlib import Path
from mayfly.models.errors import BadRequest, TerminalError
from mayfly.storage.lease_store import LeaseStore

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = LeaseStore(Path(sys.argv[1]))
[lease] = store.list().open
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
another = replace(lease, ref=replace(lease.ref, name="another"))
try:
    store.open(another)
except TerminalError as error:
    print(error)
print(store.find("another"))
print(store.renew(lease, 1015.0).heartbeat_at)
print(store.find(lease.name).heartbeat_at)
store.close(lease)
print(store.list().open)
"""


def test_full_disk_fails_open_and_allows_renew_and_close(
    home: Path, store: LeaseStore, lease: Lease
) -> None:
    store.open(lease)

    done = subprocess.run(
        [sys.executable, "-c", FULL, str(home)], capture_output=True, text=True, check=True
    )

    said, *rest = done.stdout.splitlines()
    assert "nothing was created" in said
    assert rest == ["None", "1015.0", "1015.0", "()"]
    assert not copy_of(lease).exists()


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"MAYFLY_HOME": "/a", "XDG_STATE_HOME": "/b"}, Path("/a")),
        ({"XDG_STATE_HOME": "/b"}, Path("/b/mayfly")),
        ({}, Path("~/.local/state/mayfly").expanduser()),
    ],
)
def test_lease_store_is_in_mayfly_home(environ: dict[str, str], expected: Path) -> None:
    assert state_home(environ) == expected
    assert LeaseStore.of(environ).folder == expected / "leases"


def test_lost_lease_is_read_from_the_run_folder(store: LeaseStore, lease: Lease) -> None:
    store.open(lease)
    store.path(lease.name).unlink()

    assert store.of_output(lease.output) == (lease,)


def test_damaged_lease_is_read_from_the_run_folder(store: LeaseStore, lease: Lease) -> None:
    store.open(lease)
    store.path(lease.name).write_bytes(b"{")

    assert store.of_output(lease.output) == (lease,)


def test_lease_of_a_later_version_is_read(lease: Lease) -> None:
    later = lease.as_dict() | {"new": 1, "owner": lease.as_dict()["owner"] | {"also": 2}}

    assert Lease.from_dict(later) == lease


def test_unwritable_home_is_refused_with_the_variable_to_set(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file, where a folder is wanted")

    with pytest.raises(BadRequest, match="set MAYFLY_HOME"):
        LeaseStore(tmp_path / "home").check_writable()
