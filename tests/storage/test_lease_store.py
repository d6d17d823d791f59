"""Leases on disk: written before an endpoint exists, gone only after it is."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mayfly.models.endpoint import EndpointRef
from mayfly.models.errors import BadRequest, TerminalError
from mayfly.models.lease import Lease, Owner
from mayfly.storage.lease_store import DamagedLease, LeaseStore, read_lease, state_home
from mayfly.storage.run_paths import RunPaths

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
    return Lease(
        ref=EndpointRef(api="v2", name="mayfly-me-0123456789-68000000"),
        provider="p",
        base_url="http://127.0.0.1:1",
        project="project",
        namespace="me",
        run="run",
        owner=ME,
        opened_at=1000.0,
        heartbeat_at=1000.0,
        output=str(tmp_path / "out"),
    )


def copy_of(lease: Lease) -> Path:
    return RunPaths(Path(lease.output)).lease


def test_an_open_lease_is_in_the_book_and_in_the_runs_folder(
    store: LeaseStore, lease: Lease
) -> None:
    store.open(lease)

    assert store.find(lease.name) == lease
    assert store.list().open == (lease,)
    assert read_lease(copy_of(lease)) == lease


def test_only_its_user_may_read_a_lease(store: LeaseStore, lease: Lease) -> None:
    store.open(lease)

    assert store.path(lease.name).stat().st_mode & 0o077 == 0
    assert store.folder.stat().st_mode & 0o077 == 0


def test_another_process_sees_every_heartbeat(store: LeaseStore, home: Path, lease: Lease) -> None:
    store.open(lease)

    renewed = store.renew(lease, 1015.25)

    assert renewed.heartbeat_at == 1015.25
    assert LeaseStore(home).find(lease.name) == renewed
    assert read_lease(copy_of(lease)) == renewed


def test_an_update_keeps_what_was_learned_and_never_takes_a_heartbeat_back(
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


def test_a_closed_lease_is_gone_and_closing_twice_is_closing_once(
    store: LeaseStore, lease: Lease
) -> None:
    store.open(lease)

    store.close(lease)
    store.close(lease)

    assert store.list() == ((), ())
    assert store.find(lease.name) is None
    assert not copy_of(lease).exists()


def test_a_heartbeat_that_comes_late_does_not_bring_a_closed_lease_back(
    store: LeaseStore, lease: Lease
) -> None:
    store.open(lease)
    store.close(lease)

    store.renew(lease, 1015.0)

    assert store.list().open == ()


def test_a_heartbeat_brings_back_a_lease_that_somebody_else_removed(
    store: LeaseStore, lease: Lease
) -> None:
    store.open(lease)
    store.path(lease.name).unlink()

    renewed = store.renew(lease, 1015.0)

    assert store.list().open == (renewed,)


def test_a_lease_outlives_the_runs_folder(store: LeaseStore, lease: Lease) -> None:
    store.open(lease)
    copy_of(lease).unlink()
    copy_of(lease).parent.rmdir()

    renewed = store.renew(lease, 1015.0)
    store.update(renewed)
    assert store.list().open == (renewed,)

    store.close(lease)
    assert store.list().open == ()


def test_a_lease_that_another_owner_holds_is_not_taken_by_opening(
    store: LeaseStore, lease: Lease
) -> None:
    store.open(lease)

    with pytest.raises(TerminalError, match="held by process 7 on here"):
        store.open(replace(lease, owner=replace(ME, pid=8)))

    assert store.find(lease.name) == lease


def test_a_damaged_lease_is_reported_by_the_name_of_its_endpoint(
    store: LeaseStore, lease: Lease
) -> None:
    other = replace(lease, ref=replace(lease.ref, name="team/other"), output="")
    store.open(lease)
    store.open(other)
    path = store.path("team/other")
    path.write_bytes(path.read_bytes()[:40])

    open_leases, [damaged] = store.list()

    assert open_leases == (lease,)
    assert damaged.name == "team/other"
    assert "may" not in damaged.reason
    assert "look whether endpoint team/other still exists" in str(damaged)
    assert isinstance(store.find("team/other"), DamagedLease)
    with pytest.raises(TerminalError, match="cannot be read"):
        store.open(other)


def test_closing_one_lease_leaves_the_copy_of_the_next(store: LeaseStore, lease: Lease) -> None:
    following = replace(lease, ref=replace(lease.ref, name="following"))
    store.open(lease)
    store.open(following)

    store.close(lease)

    assert read_lease(copy_of(lease)) == following


def test_what_a_killed_process_was_writing_is_no_lease(store: LeaseStore, lease: Lease) -> None:
    store.open(lease)
    (store.folder / f".{lease.name}.json.1-2-3.tmp").write_text("{")

    assert store.list() == ((lease,), ())


def test_a_book_that_does_not_exist_yet_is_empty(store: LeaseStore, home: Path) -> None:
    assert store.list() == ((), ())
    assert not home.exists()


def test_a_lease_that_cannot_be_written_stops_before_anything_is_created(
    home: Path, store: LeaseStore, lease: Lease
) -> None:
    home.write_text("a file where the folder should be")

    with pytest.raises(TerminalError, match="nothing was created"):
        store.open(lease)


def test_a_lease_whose_copy_cannot_be_written_is_not_left_open(
    store: LeaseStore, lease: Lease
) -> None:
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


def test_on_a_full_disk_opening_fails_and_renewing_and_closing_work(
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
    ("environ", "place"),
    [
        ({"MAYFLY_HOME": "/a", "XDG_STATE_HOME": "/b"}, Path("/a")),
        ({"XDG_STATE_HOME": "/b"}, Path("/b/mayfly")),
        ({}, Path("~/.local/state/mayfly").expanduser()),
    ],
)
def test_the_book_lies_where_the_environment_says(environ: dict[str, str], place: Path) -> None:
    assert state_home(environ) == place
    assert LeaseStore.of(environ).folder == place / "leases"


def test_a_lease_that_the_store_has_lost_is_read_from_the_runs_folder(
    store: LeaseStore, lease: Lease
) -> None:
    store.open(lease)
    store.path(lease.name).unlink()

    assert store.of_output(lease.output) == (lease,)


def test_a_lease_that_is_damaged_in_the_store_is_read_from_the_runs_folder(
    store: LeaseStore, lease: Lease
) -> None:
    store.open(lease)
    store.path(lease.name).write_bytes(b"{")

    assert store.of_output(lease.output) == (lease,)


def test_a_lease_of_a_later_version_is_read(lease: Lease) -> None:
    later = lease.as_dict() | {"new": 1, "owner": lease.as_dict()["owner"] | {"also": 2}}

    assert Lease.from_dict(later) == lease


def test_a_home_that_cannot_be_written_is_refused_with_what_to_set(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file, where a folder is wanted")

    with pytest.raises(BadRequest, match="set MAYFLY_HOME"):
        LeaseStore(tmp_path / "home").check_writable()
