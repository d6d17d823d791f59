"""The report names versions, host and commit."""

import subprocess
from pathlib import Path

import pytest

from mayfly.reporting.environment import commit_of, describe_environment


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A Git repository with `data/in.csv` committed."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "in.csv").write_text("prompt\nhello\n")
    for arguments in (
        ["init", "-q"],
        ["add", "data"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "Begin"],
    ):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    return tmp_path


def test_versions_and_host_are_named() -> None:
    found = describe_environment("in.parquet")

    assert {"mayfly", "prefect", "together"} <= found["versions"].keys()
    assert found["python"]
    assert found["host"]


@pytest.mark.parametrize("name", ["data/in.csv", "data", "data/*.csv"])
def test_commit_of_a_committed_input_is_that_of_its_repository(repository: Path, name: str) -> None:
    commit = commit_of(str(repository / name))

    assert commit is not None
    assert len(commit) == 12


def test_commit_of_a_changed_input_is_marked(repository: Path) -> None:
    (repository / "data" / "in.csv").write_text("prompt\nbye\n")

    commit = commit_of(str(repository / "data/in.csv"))

    assert commit is not None
    assert commit.endswith("+")


def test_input_outside_of_any_repository_has_no_commit(repository: Path) -> None:
    (repository / "data" / "untracked.csv").write_text("prompt\n")

    assert commit_of(str(repository / "data/untracked.csv")) is None
    assert commit_of("s3://bucket/in.parquet") is None
    assert commit_of("/nonexistent/in.parquet") is None
