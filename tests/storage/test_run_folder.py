"""The run folder: what is refused, the lock, and which shards count as done."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mayfly.models.errors import BadRequest
from mayfly.models.failures import OTHER, Failure
from mayfly.models.manifest import Manifest
from mayfly.models.rows import Answer, Tally
from mayfly.models.shards import plan_shards
from mayfly.storage.dataset import Dataset
from mayfly.storage.journal import Journal
from mayfly.storage.manifest_store import commit_manifest, load_manifest
from mayfly.storage.open_input import open_dataset
from mayfly.storage.parts import write_part
from mayfly.storage.run_folder import (
    RunFolder,
    check_output,
    journalled,
    leaving_nothing_unless_begun,
    reconciled,
)
from mayfly.storage.run_paths import RunPaths

NOW = 1_700_000_000.0


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    pq.write_table(pa.table({"q": [f"q{i}" for i in range(30)]}), tmp_path / "in.parquet")
    return open_dataset(str(tmp_path / "in.parquet"))


@pytest.fixture
def wanted(dataset: Dataset) -> Manifest:
    return Manifest(
        fingerprint="f" * 64,
        identity={"model": "m", "prompt.template": "{{ q }}"},
        input=dataset.describe(),
        provider="p",
        shards=tuple(plan_shards(dataset.row_groups, shard_rows=10)),
        created_at=NOW,
    )


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "some" / "out"


@pytest.fixture
def earlier(out: Path, wanted: Manifest) -> Path:
    RunFolder.open(str(out), wanted, now=NOW).close()
    return out


def everything(folder: Path) -> dict[Path, bytes | None]:
    return {
        path: path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))
    }


def commit_part(out: Path, dataset: Dataset, wanted: Manifest, index: int) -> Tally:
    shard = wanted.shards[index]
    answers = {row: Answer(row, "a", None) for row in range(shard.first_row, shard.end_row)}
    return write_part(out, shard, dataset, answers, fingerprint=wanted.fingerprint)


def test_plan_creates_no_folder(tmp_path: Path, out: Path, wanted: Manifest) -> None:
    before = everything(tmp_path)

    assert check_output(str(out), wanted) is None

    assert everything(tmp_path) == before


def test_new_folder_gets_a_manifest(out: Path, wanted: Manifest) -> None:
    with RunFolder.open(str(out), wanted, now=NOW) as folder:
        assert folder.manifest == wanted
        assert load_manifest(RunPaths(out).manifest) == wanted


def test_empty_folder_is_used(out: Path, wanted: Manifest) -> None:
    out.mkdir(parents=True)

    with RunFolder.open(str(out), wanted, now=NOW) as folder:
        assert folder.manifest.left


def test_earlier_run_of_the_same_job_keeps_its_shards(earlier: Path, wanted: Manifest) -> None:
    cut_otherwise = replace(wanted, shards=wanted.shards[:1], created_at=NOW + 9)

    with RunFolder.open(str(earlier), cut_otherwise, now=NOW) as folder:
        assert folder.manifest == wanted


@pytest.mark.parametrize("name", ["notes.txt", ".hidden", "part-000000.parquet", "_mayfly/x"])
def test_foreign_folder_is_refused_unchanged(out: Path, wanted: Manifest, name: str) -> None:
    (out / name).parent.mkdir(parents=True)
    (out / name).write_text("mine")
    before = everything(out)

    with pytest.raises(BadRequest, match=r"is not an earlier run"):
        RunFolder.open(str(out), wanted, now=NOW)

    assert everything(out) == before


def test_output_that_is_a_file_is_refused(tmp_path: Path, wanted: Manifest) -> None:
    (tmp_path / "out").write_text("mine")

    with pytest.raises(BadRequest, match="is a file"):
        check_output(str(tmp_path / "out"), wanted)
    with pytest.raises(BadRequest, match="is a file"):
        check_output(str(tmp_path / "out" / "below" / "it"), wanted)


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("ftp://host/out", "local folders, s3://"),
        ("s3://", "names no folder"),
        ("s3://key:secret-of-mine@bucket/out", "in the environment"),
        ("s3://bucket/out?X-Amz-Signature=secret-of-mine", "in the environment"),
    ],
)
def test_unwritable_uri_is_refused_without_its_credentials(output: str, reason: str) -> None:
    with pytest.raises(BadRequest, match=reason) as refused:
        check_output(output)

    assert "secret-of-mine" not in str(refused.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_unwritable_folder_is_refused(tmp_path: Path, wanted: Manifest) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(BadRequest, match="no permission"):
            check_output(str(tmp_path / "a" / "b"), wanted)
    finally:
        tmp_path.chmod(0o700)


def test_folder_that_cannot_be_created_is_refused(wanted: Manifest) -> None:
    with pytest.raises(BadRequest, match="cannot be written"):
        RunFolder.open("/proc/mayfly-out", wanted, now=NOW)


def test_earlier_run_of_another_job_is_refused_with_the_difference(
    earlier: Path, wanted: Manifest
) -> None:
    other = replace(wanted, fingerprint="e" * 64, identity={**wanted.identity, "model": "n"})
    before = everything(earlier)

    with pytest.raises(BadRequest, match="model was 'm', is 'n'"):
        RunFolder.open(str(earlier), other, now=NOW)

    assert everything(earlier) == before


def test_run_killed_before_its_manifest_starts_again(out: Path, wanted: Manifest) -> None:
    (out / "_mayfly").mkdir(parents=True)
    (out / "_mayfly" / "lock").write_text("{}")
    (out / "_mayfly" / ".manifest.json.1-2-3.tmp").write_text("{")

    with RunFolder.open(str(out), wanted, now=NOW) as folder:
        assert folder.manifest == wanted


SECOND = """
import sys
from pathlib import Path
from mayfly.storage.manifest_store import load_manifest
from mayfly.storage.run_folder import RunFolder
from mayfly.storage.run_paths import RunPaths

out = sys.argv[1]
RunFolder.open(out, load_manifest(RunPaths(Path(out)).manifest), now=5.0)
"""


def test_second_run_in_a_folder_is_refused_with_the_lock_owner(out: Path, wanted: Manifest) -> None:
    with RunFolder.open(str(out), wanted, now=NOW):
        before = everything(out)
        second = subprocess.run(
            [sys.executable, "-c", SECOND, str(out)], capture_output=True, text=True, check=False
        )
        assert everything(out) == before

    assert f"in use by process {os.getpid()} on" in second.stderr
    assert "since 2023-11-14 22:13:20 UTC" in second.stderr


def test_folder_lock_is_released_when_its_run_ends(earlier: Path, wanted: Manifest) -> None:
    for _ in range(2):
        with RunFolder.open(str(earlier), wanted, now=NOW) as folder:
            folder.close()


def test_failed_open_releases_the_folder_lock(earlier: Path, wanted: Manifest) -> None:
    (earlier / "part-000009.parquet").write_text("mine")
    with pytest.raises(BadRequest, match=r"part-000009\.parquet"):
        RunFolder.open(str(earlier), wanted, now=NOW)
    (earlier / "part-000009.parquet").unlink()

    RunFolder.open(str(earlier), wanted, now=NOW).close()


def test_part_missing_from_the_manifest_is_done(
    earlier: Path, dataset: Dataset, wanted: Manifest
) -> None:
    tally = commit_part(earlier, dataset, wanted, 1)

    with RunFolder.open(str(earlier), wanted, now=NOW) as folder:
        assert folder.manifest.done == {1: tally}
        assert load_manifest(folder.paths.manifest) == folder.manifest


@pytest.mark.parametrize("lost", ["removed", "truncated"])
def test_lost_part_named_by_the_manifest_is_redone(
    earlier: Path, dataset: Dataset, wanted: Manifest, lost: str
) -> None:
    tally = commit_part(earlier, dataset, wanted, 1)
    paths = RunPaths(earlier)
    commit_manifest(paths.manifest, wanted.with_done(1, tally))
    if lost == "removed":
        paths.part(1).unlink()
    else:
        os.truncate(paths.part(1), 100)

    with RunFolder.open(str(earlier), wanted, now=NOW) as folder:
        assert [shard.index for shard in folder.manifest.left] == [0, 1, 2]


def test_part_of_another_job_is_refused(earlier: Path, dataset: Dataset, wanted: Manifest) -> None:
    commit_part(earlier, dataset, replace(wanted, fingerprint="e" * 64), 1)

    with pytest.raises(BadRequest, match=r"part-000001\.parquet, which is not of this run"):
        RunFolder.open(str(earlier), wanted, now=NOW)


def test_temporary_files_of_a_killed_run_are_removed(earlier: Path, wanted: Manifest) -> None:
    leftover = RunPaths(earlier).kept / ".part-000001.parquet.1-2-3.tmp"
    leftover.write_text("half")

    RunFolder.open(str(earlier), wanted, now=NOW).close()

    assert not leftover.exists()


def test_finished_shard_needs_no_journal(earlier: Path, dataset: Dataset, wanted: Manifest) -> None:
    with RunFolder.open(str(earlier), wanted, now=NOW) as folder:
        path = folder.paths.journal(1)
        Journal(path, fingerprint=wanted.fingerprint, shard=wanted.shards[1]).close()
        folder.record_done(1, commit_part(earlier, dataset, wanted, 1))

        assert not path.exists()
        assert reconciled(folder.paths, folder.manifest) == folder.manifest


def test_journalled_answers_are_counted_read_only(earlier: Path, wanted: Manifest) -> None:
    paths = RunPaths(earlier)
    for index, row in ((0, 4), (2, 25)):
        shard = wanted.shards[index]
        with Journal(paths.journal(index), fingerprint=wanted.fingerprint, shard=shard) as journal:
            journal.append(Answer(row, None, Failure(OTHER, "wrong"), attempts=3))
    with paths.journal(2).open("ab") as file:
        file.write(b"torn")
    before = everything(earlier)

    assert journalled(paths, wanted) == Tally(2, 2, 0, 0, 0, 6)
    assert everything(earlier) == before


@pytest.mark.parametrize("existed", [False, True])
def test_input_copies_are_removed_when_no_run_started(
    out: Path, wanted: Manifest, existed: bool
) -> None:
    if existed:
        out.mkdir(parents=True)
    with leaving_nothing_unless_begun(str(out)):
        (out / "_mayfly" / "input" / "copies").mkdir(parents=True)
    assert out.exists() == existed
    assert not existed or not list(out.iterdir())

    with leaving_nothing_unless_begun(str(out)):
        (out / "_mayfly" / "input").mkdir(parents=True)
        RunFolder.open(str(out), wanted, now=NOW).close()
    assert (out / "_mayfly" / "input").is_dir()

    with leaving_nothing_unless_begun(str(out)):  # A later command, which fails early.
        pass
    assert (out / "_mayfly" / "input").is_dir()
