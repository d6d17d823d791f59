"""Which files an INPUT means: a file, a folder, a glob or a URI."""

import os
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mayfly.models.errors import BadRequest
from mayfly.storage.input_files import name_in
from mayfly.storage.open_input import open_dataset
from tests.support.parquet_input import ids, write


def test_folder_is_read_in_path_order(folder: Path) -> None:
    assert ids(open_dataset(str(folder))) == list(range(13))


def test_glob_selects_matching_files(folder: Path) -> None:
    assert ids(open_dataset(f"{folder}/*.parquet")) == list(range(10))
    assert ids(open_dataset(f"{folder}/**/*.p*q*")) == list(range(13))


def test_glob_that_matches_folders_selects_their_files(folder: Path) -> None:
    assert ids(open_dataset(f"{folder}/m*")) == [10, 11, 12]


def test_names_with_underscore_or_dot_are_not_data_at_any_level(folder: Path) -> None:
    write(folder / "_old" / "x.parquet", 3)
    write(folder / "more" / ".hidden.parquet", 3)
    (folder / "_SUCCESS").touch()

    assert open_dataset(str(folder)).rows == 13
    assert open_dataset(f"{folder}/**").rows == 13
    with pytest.raises(BadRequest, match="no data files"):
        open_dataset(f"{folder}/_old/*/y*")


def test_hidden_parent_folder_does_not_hide_the_input(tmp_path: Path) -> None:
    path = write(tmp_path / ".cache" / "in" / "a.parquet", 4)

    assert open_dataset(str(path.parent)).rows == 4
    assert open_dataset(f"{path.parent}/*.parquet").rows == 4


def test_file_name_with_glob_characters_is_a_file(tmp_path: Path) -> None:
    assert open_dataset(str(write(tmp_path / "a[1].parquet", 4))).rows == 4


def test_links_are_followed_and_link_loops_end(folder: Path, tmp_path: Path) -> None:
    (folder / "d.parquet").symlink_to(write(tmp_path / "else" / "d.parquet", 2, first=13))
    (folder / "loop").symlink_to(folder)

    assert open_dataset(str(folder)).rows == 15


def test_uri_is_read_like_a_folder() -> None:
    memory = fsspec.filesystem("memory")
    for name, first in (("b.parquet", 4), ("a.parquet", 0), ("_no.parquet", 9)):
        with memory.open(f"/mayfly-in/{name}", "wb") as file:
            pq.write_table(pa.table({"id": range(first, first + 4)}), file)

    assert ids(open_dataset("memory://mayfly-in")) == list(range(8))
    assert ids(open_dataset("memory://mayfly-in/[a]*.parquet")) == list(range(4))
    assert open_dataset("memory://mayfly-in/b.parquet").rows == 4
    with pytest.raises(BadRequest, match="does not exist"):
        open_dataset("memory://mayfly-in/c.parquet")


def test_file_uri_is_a_local_path(folder: Path) -> None:
    assert open_dataset(f"file://{folder}/a.parquet").rows == 5


@pytest.mark.parametrize("uri", ["nope://bucket/key", "abfs://bucket/key"])
def test_unknown_protocol_is_refused(uri: str) -> None:
    with pytest.raises(BadRequest, match=uri):
        open_dataset(uri)


def test_missing_input_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=r"missing\.parquet does not exist"):
        open_dataset(str(tmp_path / "missing.parquet"))
    with pytest.raises(BadRequest, match="no data files"):
        open_dataset(f"{tmp_path}/*.parquet")
    with pytest.raises(BadRequest, match="no data files"):
        open_dataset(str(tmp_path))


def test_pipe_is_refused_at_once(folder: Path) -> None:
    os.mkfifo(folder / "pipe")

    with pytest.raises(BadRequest, match="pipe is not a regular file"):
        open_dataset(str(folder))


@pytest.mark.parametrize(
    ("uri", "path", "name"),
    [
        ("a", "a/x/y.parquet", "x/y.parquet"),
        ("a/x/y.parquet", "a/x/y.parquet", "y.parquet"),
        ("a/*/y.parquet", "a/x/y.parquet", "x/y.parquet"),
    ],
)
def test_file_name_is_relative_to_its_input(tmp_path: Path, uri: str, path: str, name: str) -> None:
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).touch()

    assert name_in(f"{tmp_path}/{uri}", f"{tmp_path}/{path}") == name
    assert name_in(f"file://{tmp_path}/{uri}", f"{tmp_path}/{path}") == name
