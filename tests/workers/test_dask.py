"""Shards sent by workers of a real Dask cluster, on loopback; no folder is shared with them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mayfly.models.errors import BadRequest
from mayfly.storage.dataset import Dataset
from mayfly.storage.media_files import LocalFile, MediaFiles
from mayfly.storage.open_input import open_dataset
from mayfly.workers.dask_cluster import DaskCluster
from tests.support.certificates import dask_tls
from tests.support.dask_cluster import DaskProcesses
from tests.support.dask_job import RUN_KEY, WORKER_KEY, DaskJob, connection_to, write_rows
from tests.support.object_stores import BUCKET, S3Server, s3_server
from tests.support.scripted_server import Request, ScriptedServer, http


@pytest.fixture(scope="module")
def store() -> Iterator[S3Server]:
    """All that the machines share."""
    with s3_server() as server:
        yield server


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory, store: S3Server) -> Iterator[DaskProcesses]:
    """A cluster for all tests here; each says how many workers it needs."""
    with DaskProcesses(tmp_path_factory.mktemp("cluster")) as found:
        found.living(2, {"TOGETHER_API_KEY": WORKER_KEY, **store.env})
        yield found


def uploaded(store: S3Server, path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """Put a file into the bucket; return the input that it is there."""
    import fsspec  # noqa: PLC0415 - the test's own client

    for name, value in store.env.items():
        monkeypatch.setenv(name, value)
    fsspec.filesystem("s3").put(str(path), f"{BUCKET}/{path.name}")
    return open_dataset(f"s3://{BUCKET}/{path.name}", limit=None, beside=path.parent / "own")


def test_workers_read_remote_input_and_send_with_own_key(
    tmp_path: Path,
    processes: DaskProcesses,
    store: S3Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_rows(tmp_path / "input.parquet", 4000)
    dataset = uploaded(store, tmp_path / "input.parquet", monkeypatch)
    job = DaskJob(tmp_path, processes.address, dataset)
    with job.pool() as pool:
        asked = len(store.requests)
        job.answer_all(pool)

    job.check(sent_twice=0)
    assert job.cluster.workers_read
    assert len(store.requests) > asked
    assert job.keys() == {WORKER_KEY}


def test_killed_dask_worker_loses_and_repeats_no_row(
    tmp_path: Path, processes: DaskProcesses, store: S3Server
) -> None:
    first, _ = processes.living(2, {"TOGETHER_API_KEY": WORKER_KEY, **store.env})
    job = DaskJob(tmp_path, processes.address, write_rows(tmp_path / "in.parquet", 12_000))
    with job.pool() as pool:
        killing = job.when(4000, first.kill)
        job.answer_all(pool)
        killing.join()
        state = processes.state()

    job.check(sent_twice=32)
    assert any("was lost" in message for message in job.messages)
    # The run's key has gone nowhere, and the workers' is in nothing that Dask keeps.
    assert job.keys() == {WORKER_KEY}
    for key in (RUN_KEY, WORKER_KEY):
        assert key not in state
        assert key.encode() not in processes.files()


def test_large_rows_and_answers_do_not_block_each_other(
    tmp_path: Path, processes: DaskProcesses, store: S3Server
) -> None:
    processes.living(1, {"TOGETHER_API_KEY": WORKER_KEY, **store.env})
    dataset = write_rows(tmp_path / "in.parquet", 48, more="x" * 2**20)
    job = DaskJob(tmp_path, processes.address, dataset, more="y" * 2**20)
    with job.pool() as pool:
        job.answer_all(pool)

    job.check(sent_twice=0)
    assert job.messages == []


def test_run_over_tls_sends_its_key_and_survives_its_scheduler(
    tmp_path: Path,
) -> None:
    tls = dask_tls(tmp_path / "tls")
    with DaskProcesses(tmp_path / "cluster", tls=tls) as processes, dask_settings(tls):
        processes.living(1, {})
        job = DaskJob(
            tmp_path, processes.address, write_rows(tmp_path / "in.parquet", 6000), held_s=0.01
        )
        with job.pool() as pool:
            killing = job.when(2000, processes.scheduler.kill)
            job.answer_all(pool)
            killing.join()

        job.check(sent_twice=32)
        assert processes.address.startswith("tls://")
        assert job.keys() == {RUN_KEY}
        assert any("continues with processes of this machine" in text for text in job.messages)
        assert RUN_KEY.encode() not in processes.files()


@contextmanager
def dask_settings(variables: dict[str, str]) -> Iterator[None]:
    """Set Dask's configuration in this process as its environment variables would."""
    # Loaded first: it adds its defaults to the configuration, which the end of `set` would remove.
    import distributed  # noqa: F401, PLC0415 - an extra
    from dask import config  # noqa: PLC0415 - an extra

    # With dots, because a nested value would replace all other settings of `distributed`.
    names = (name.removeprefix("DASK_").lower().replace("__", ".") for name in variables)
    with config.set(dict(zip(names, variables.values(), strict=True))):
        yield


def refusal(address: str, dataset: Dataset) -> str:
    with (
        pytest.raises(BadRequest) as refused,
        DaskCluster(address, dataset, connection=connection_to("http://127.0.0.1:9"), log=print),
    ):
        pass
    return str(refused.value)


def test_worker_that_cannot_reach_the_api_is_refused_before_create(
    tmp_path: Path, processes: DaskProcesses, store: S3Server
) -> None:
    processes.living(1, {"TOGETHER_API_KEY": WORKER_KEY, **store.env})

    said = refusal(processes.address, write_rows(tmp_path / "in.parquet", 1))

    start = f"--dask {processes.address}: worker tcp://127.0.0.1:"
    assert said.startswith(start)
    assert "cannot reach http://127.0.0.1:9/v1 ([Errno 111] Connection refused)" in said


def test_worker_without_a_file_that_a_cell_names_is_refused_before_create(
    tmp_path: Path, processes: DaskProcesses, store: S3Server
) -> None:
    processes.living(1, {"TOGETHER_API_KEY": WORKER_KEY, **store.env})
    # What the workers cannot see is played by a file that is gone: all are on one machine.
    file = LocalFile(MediaFiles(folder=str(tmp_path)), "gone.png")
    dataset = write_rows(tmp_path / "in.parquet", 1)
    with ScriptedServer(no_project) as server:
        connection = connection_to(server.url.removesuffix("/v1/chat/completions"))
        cluster = DaskCluster(
            processes.address, dataset, connection=connection, file=file, log=print
        )
        with pytest.raises(BadRequest) as refused, cluster:
            pass

    assert "cannot read a file that a cell names (gone.png cannot be read" in str(refused.value)
    assert "\n" not in str(refused.value)


async def no_project(_request: Request) -> bytes:
    return http(b"{}", 404)


def test_unreachable_scheduler_is_refused_at_once_in_one_line(tmp_path: Path) -> None:
    dataset = write_rows(tmp_path / "in.parquet", 1)
    began = time.monotonic()

    said = refusal("tcp://127.0.0.1:9", dataset)

    assert said.startswith("--dask tcp://127.0.0.1:9: no Dask scheduler responds there")
    assert "\n" not in said
    assert time.monotonic() - began < 5
    assert "is not the address of a scheduler" in refusal("127.0.0.1:8786", dataset)
