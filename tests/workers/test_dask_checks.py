"""Checks of a Dask worker before anything is created, in a stand-in process."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mayfly.storage.dataset import Dataset
from mayfly.storage.media_files import LocalFile, MediaFiles
from mayfly.storage.open_input import open_dataset
from mayfly.together.connection import Connection
from mayfly.workers.dask_checks import (
    WorkerInfo,
    WorkerNeeds,
    describe_worker,
    difference,
    own_connection,
    problem_with,
)
from mayfly.workers.dask_cluster import DaskCluster
from together_emulator import Emulator

KEY = "the-right-key"
HERE = WorkerInfo("3.11", "2026.8.0", "1.0", "a")


@pytest.fixture(scope="module")
def api() -> Iterator[Emulator]:
    """The API of the run."""
    with Emulator(key=KEY) as emulator:
        yield emulator


def connection_to(api: Emulator) -> Connection:
    return Connection.from_env({"TOGETHER_BASE_URL": api.url, "TOGETHER_API_KEY": KEY})


def needs(api: Emulator, *, project: str = "", own_key: bool = True) -> WorkerNeeds:
    connection = connection_to(api)
    return WorkerNeeds(None, connection.base_url, connection.inference_url, project, own_key)


def test_same_process_has_no_difference() -> None:
    assert difference(describe_worker(), describe_worker()) == ""


@pytest.mark.parametrize(
    ("worker", "said"),
    [
        (HERE._replace(python="3.12"), "has Python 3.12, this run has 3.11"),
        (HERE._replace(distributed="2026.9.0"), "has distributed 2026.9.0, this run has 2026.8.0"),
        (HERE._replace(mayfly="0.9"), "has mayfly 0.9, this run has 1.0"),
        (HERE._replace(source="b"), "has other files of mayfly 1.0 than this run"),
    ],
)
def test_worker_that_differs_is_described(worker: WorkerInfo, said: str) -> None:
    assert difference(HERE, worker) == f"{said}; install the same there"


def test_key_in_environment_or_file_is_accepted(api: Emulator, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")

    assert problem_with(needs(api), {"TOGETHER_API_KEY": KEY}) == ""
    assert problem_with(needs(api), {"TOGETHER_API_KEY_FILE": str(tmp_path / "key")}) == ""


def test_missing_key_is_refused_unless_the_run_sends_one(api: Emulator) -> None:
    assert problem_with(needs(api), {}).startswith("has no key; set TOGETHER_API_KEY")
    assert problem_with(needs(api, own_key=False), {}) == ""


def test_wrong_key_is_refused_and_not_shown(api: Emulator) -> None:
    said = problem_with(needs(api), {"TOGETHER_API_KEY": "a-wrong-key"})

    assert said.startswith("cannot use its API key: Together rejected the API key (HTTP 401: ")
    assert "a-wrong-key" not in said


def test_key_of_another_project_is_refused(api: Emulator) -> None:
    said = problem_with(needs(api, project="proj_of_the_run"), {"TOGETHER_API_KEY": KEY})

    assert said.startswith("has a key of project proj_")
    assert said.endswith("give it one of the run's project proj_of_the_run")


def test_invalid_setting_is_named(api: Emulator) -> None:
    said = problem_with(needs(api), {"TOGETHER_API_KEY": KEY, "SSL_CERT_FILE": "/nowhere.pem"})

    assert said.startswith("has an invalid setting: SSL_CERT_FILE /nowhere.pem does not exist")


def test_unreadable_input_is_named_with_the_reason(api: Emulator, tmp_path: Path) -> None:
    dataset = dataset_at(f"{api.url}/not-there.parquet", tmp_path)

    said = problem_with(needs(api)._replace(dataset=dataset), {"TOGETHER_API_KEY": KEY})

    assert said.startswith("cannot read the input (")
    assert "404" in said
    assert said.endswith("); give it access to the input's storage")


def test_file_of_a_cell_that_is_not_there_is_named(api: Emulator, tmp_path: Path) -> None:
    media = MediaFiles(folder=str(tmp_path))
    (tmp_path / "1.png").write_bytes(b"image")
    env = {"TOGETHER_API_KEY": KEY}

    def said(name: str) -> str:
        return problem_with(needs(api)._replace(file=LocalFile(media, name)), env)

    assert said("1.png") == ""
    assert said("2.png") == (
        "cannot read a file that a cell names (2.png cannot be read below the input's folder: No "
        "such file or directory); put such files on an object store, or share their folder at the "
        "same path"
    )


def dataset_at(uri: str, folder: Path) -> Dataset:
    """Return an input as a run may have found it at an address."""
    pq.write_table(pa.table({"prompt": ["a"]}), folder / "in.parquet")
    dataset = open_dataset(str(folder / "in.parquet"), limit=None)
    return replace(dataset, uri=uri, files=(dataset.files[0]._replace(path=uri),))


def test_secret_key_is_not_sent_without_tls(api: Emulator, tmp_path: Path) -> None:
    dataset = dataset_at("in.parquet", tmp_path)
    secret = connection_to(api)
    known = replace(secret, key_is_secret=False, extra_headers={"X-Secret": "s"})
    sent = {
        name: DaskCluster(
            "tcp://127.0.0.1:1", dataset, connection=connection, log=print
        ).headers_for(f"{name.partition(' ')[0]}://127.0.0.1:2")
        for name, connection in (("tcp", secret), ("tcp known", known), ("tls", secret))
    }

    assert sent["tcp"] == {}
    assert sent["tcp known"] == sent["tls"] == {"Authorization": f"Bearer {KEY}"}


def test_own_connection_needs_a_key() -> None:
    assert own_connection({}) is None
    own = own_connection({"TOGETHER_API_KEY": KEY, "TOGETHER_CUSTOM_HEADERS": "X-Team: red"})
    assert own is not None
    assert own.headers() == {"Authorization": f"Bearer {KEY}", "X-Team": "red"}
