"""A prefix of a bucket, its lock and its mirror, against servers of S3, GCS and Azure over HTTP."""

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mayfly.models.errors import BadRequest
from mayfly.storage.mirror import Mirror
from mayfly.storage.object_store import ObjectStore, StoreError, open_store
from mayfly.storage.output_location import paths_of
from mayfly.storage.remote_output import Claim
from mayfly.storage.run_paths import RunPaths
from mayfly.storage.store_lock import LOCK, LockLost, StoreLock
from mayfly.storage.work_folder import MANIFEST, WorkFolder
from tests.support.gcs_server import GcsServer, gcs_server
from tests.support.object_stores import S3Server, s3_server
from tests.support.wait import wait_until


@pytest.fixture
def s3() -> Iterator[S3Server]:
    """A server of S3 with an empty bucket."""
    with s3_server() as server:
        yield server


@pytest.fixture
def bucket(s3: S3Server) -> ObjectStore:
    """An empty prefix on S3."""
    return open_store("s3://bucket/answers/run1", s3.env)


@pytest.fixture
def gcs() -> Iterator[GcsServer]:
    """A server of GCS with an empty bucket."""
    with gcs_server() as server:
        yield server


@pytest.fixture(params=["s3", "gcs", "azure"])
def store(request: pytest.FixtureRequest) -> ObjectStore:
    """An empty prefix, on one store after another."""
    server: Any = request.getfixturevalue(request.param)
    protocol = {"s3": "s3", "gcs": "gs", "azure": "az"}[request.param]
    return open_store(f"{protocol}://bucket/{os.urandom(4).hex()}", server.env)


def test_object_is_created_once_and_replaced_by_version(
    store: ObjectStore,
) -> None:
    first = store.create("a/lock.json", b"1")
    assert first is not None
    assert store.create("a/lock.json", b"2") is None

    second = store.replace("a/lock.json", b"3", first)
    assert second is not None
    assert store.replace("a/lock.json", b"4", first) is None

    found = store.read("a/lock.json")
    assert found is not None
    assert found[0] == b"3"
    assert store.replace("a/lock.json", b"5", found[1].version) is not None


def test_large_file_round_trips_with_the_listed_tag(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "part-000000.parquet").write_bytes(data := os.urandom(11 * 2**20))
    work = WorkFolder(RunPaths(tmp_path), store.uri)

    version = store.write("part-000000.parquet", tmp_path / "part-000000.parquet")
    work.note("part-000000.parquet", version, None)
    store.download("part-000000.parquet", tmp_path / "back")

    assert (tmp_path / "back").read_bytes() == data
    assert work.is_current("part-000000.parquet", store.list()["part-000000.parquet"])


def test_missing_object_is_none_and_its_removal_succeeds(store: ObjectStore) -> None:
    assert store.read("nothing") is None
    store.remove("nothing")
    assert not store.list()


def test_request_with_lost_response_is_recognised_when_repeated(
    store: ObjectStore,
) -> None:
    assert store.create("lock.json", b"mine") is not None

    assert store.create("lock.json", b"mine") is not None


def test_lock_of_a_silent_run_is_taken_over_and_its_owner_notices(
    bucket: ObjectStore, s3: S3Server
) -> None:
    lock, _ = StoreLock.acquire(bucket, work="here", now=0.0)
    lock.renew({"rows": {"done": 7}})
    with pytest.raises(BadRequest, match="in use by process"):
        StoreLock.acquire(bucket, work="there", now=0.0)

    s3.age(f"answers/run1/{LOCK}", 91)
    _, earlier = StoreLock.acquire(bucket, work="there", now=0.0)

    assert earlier["heartbeat"] == {"rows": {"done": 7}}
    with pytest.raises(LockLost, match="taken over"):
        lock.renew(None)
    assert not [name for name in s3.names() if name.endswith(".clock")]


def test_lock_of_dead_run_in_the_same_work_folder_is_taken_at_once(bucket: ObjectStore) -> None:
    StoreLock.acquire(bucket, work="here", now=0.0)

    _, earlier = StoreLock.acquire(bucket, work="here", now=1.0)

    assert earlier["since"] == 0.0


def claimed(bucket: ObjectStore, folder: Path, **times: Any) -> tuple[Mirror, WorkFolder]:
    """Hold a prefix for a work folder, and begin to mirror it."""
    work = WorkFolder(RunPaths(folder), bucket.uri)
    work.paths.journals.mkdir(parents=True, exist_ok=True)
    lock, _ = StoreLock.acquire(bucket, work=work.id, now=0.0)
    mirror = Mirror(bucket, work, lock, None, log=times.pop("log", lambda _: None), **times)
    return mirror, work


def test_manifest_is_uploaded_after_the_parts_that_it_names(
    bucket: ObjectStore, s3: S3Server, tmp_path: Path
) -> None:
    mirror, work = claimed(bucket, tmp_path)
    for index in range(3):
        work.paths.part(index).write_bytes(b"part")
    work.paths.manifest.write_bytes(b"{}")

    mirror.start()
    assert mirror.close() is None

    puts = [one for one in s3.requests if one.startswith("PUT ")]
    assert puts[-1].endswith(MANIFEST)
    assert s3.names("answers/run1/") >= {f"answers/run1/part-00000{i}.parquet" for i in range(3)}
    assert f"answers/run1/{LOCK}" not in s3.names()


def test_uploaded_objects_are_not_uploaded_again(
    bucket: ObjectStore, s3: S3Server, tmp_path: Path
) -> None:
    mirror, work = claimed(bucket, tmp_path)
    work.paths.part(0).write_bytes(b"part")
    mirror.start()
    assert mirror.close() is None
    before = len(s3.requests)

    again, _ = claimed(bucket, tmp_path)
    again.start()
    assert again.close() is None

    puts = [one for one in s3.requests[before:] if one.startswith("PUT ")]
    assert [one.rpartition("/")[2] for one in puts] == ["lock.json"]


def test_journals_of_finished_run_are_available_elsewhere(
    bucket: ObjectStore, tmp_path: Path
) -> None:
    mirror, work = claimed(bucket, tmp_path / "one")
    work.paths.journal(4).write_bytes(b"answers")
    mirror.start()
    assert mirror.close(interrupted=True) is None

    other = WorkFolder(RunPaths(tmp_path / "other"), bucket.uri)
    other.paths.kept.mkdir(parents=True)
    other.pull_journals(bucket, bucket.list())

    assert other.paths.journal(4).read_bytes() == b"answers"


def test_manifest_changed_by_another_run_is_not_overwritten(
    bucket: ObjectStore, s3: S3Server, tmp_path: Path
) -> None:
    mirror, work = claimed(bucket, tmp_path)
    work.paths.manifest.write_bytes(b"mine")
    bucket.write(MANIFEST, b"theirs")

    mirror.start()

    assert "changed by another run" in (mirror.close() or "")
    assert s3.content(f"answers/run1/{MANIFEST}") == b"theirs"


def test_store_that_hangs_blocks_nothing_and_is_reported_at_the_end(
    s3: S3Server, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hung = {**s3.env, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        work = WorkFolder(RunPaths(tmp_path), "s3://bucket/run")
        work.paths.kept.mkdir()
        work.paths.part(0).write_bytes(b"part")
        store = open_store("s3://bucket/run", hung)
        there = open_store("s3://bucket/run", s3.env)
        lock, _ = StoreLock.acquire(there, work=work.id, now=0.0)
        mirror = Mirror(store, work, lock, None, log=lambda _: None, interrupted_s=0.5)
        mirror.start()
        mirror.changed()

        assert mirror.close(interrupted=True) == "the store did not take it within 1 s"


def test_store_that_refuses_is_reported_once_and_the_run_continues(
    bucket: ObjectStore, s3: S3Server, tmp_path: Path
) -> None:
    said: list[str] = []
    nobody = {**s3.env, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    work = WorkFolder(RunPaths(tmp_path), bucket.uri)
    work.paths.kept.mkdir()
    work.paths.part(0).write_bytes(b"part")
    lock, _ = StoreLock.acquire(bucket, work=work.id, now=0.0)
    mirror = Mirror(open_store(bucket.uri, nobody), work, lock, None, log=said.append, renew_s=0.1)
    mirror.start()
    wait_until(lambda: bool(said), "message of the problem")

    assert "does not answer" in (mirror.close() or "")
    assert len(said) == 1
    assert str(tmp_path) in said[0]


@pytest.mark.parametrize(
    ("earlier", "here", "lost"),
    [
        ({}, 0, 0),
        ({"work": "other", "heartbeat": None}, 0, 0),
        ({"work": "other", "heartbeat": {"rows": {"done": 12}}}, 8, 4),
        ({"work": "other", "heartbeat": {"rows": {"done": 8}}}, 10, 0),
    ],
)
def test_rows_on_the_lost_machine_only_are_counted(
    tmp_path: Path, earlier: dict[str, Any], here: int, lost: int
) -> None:
    work: Any = WorkFolder(RunPaths(tmp_path), "s3://bucket/run")
    nothing: Any = None

    claim = Claim(nothing, nothing, nothing, earlier=earlier, work=work, output="s3://bucket/run")

    assert claim.rows_lost(here) == lost


def test_work_folder_is_unique_per_store_and_prefix(tmp_path: Path) -> None:
    env = {"MAYFLY_HOME": str(tmp_path)}

    folder = paths_of("s3://bucket/run", env).folder

    assert folder == paths_of("s3a://bucket/run/", env).folder
    assert folder != paths_of("s3://bucket/run2", env).folder
    assert folder != paths_of("s3://bucket/run", env | {"AWS_ENDPOINT_URL": "http://x"}).folder
    assert folder.is_relative_to(tmp_path)


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    for uri, extra in (("s3://b/o", "s3"), ("gs://b/o", "gcs"), ("az://b/o", "azure")):
        with pytest.raises(BadRequest, match=rf"pip install 'mayfly\[{extra}\]'"):
            open_store(uri, {})


def test_unreachable_store_is_named_in_one_line() -> None:
    env = {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "key-of-mine",
        "AWS_SECRET_ACCESS_KEY": "secret-of-mine",
    }

    with pytest.raises(StoreError) as error:
        open_store("s3://bucket/run", env).list()

    assert str(error.value).startswith("http://127.0.0.1:9 does not answer")
    assert "\n" not in str(error.value)
    assert "of-mine" not in str(error.value)
