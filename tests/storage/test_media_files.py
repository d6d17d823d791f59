"""Files that cells name: read below the input's folder or by URI, and from nowhere else."""

import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mayfly.storage.media_files import MediaFiles, folder_of
from mayfly.storage.open_input import open_dataset

MOST = 1000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An input's folder with a picture in it, and a secret beside it."""
    (tmp_path / "in" / "pictures").mkdir(parents=True)
    (tmp_path / "in" / "pictures" / "a.png").write_bytes(b"picture")
    (tmp_path / "secret").write_bytes(b"secret")
    pq.write_table(pa.table({"n": [1]}), tmp_path / "in" / "t.parquet")
    return tmp_path / "in"


@pytest.fixture
def files(folder: Path) -> MediaFiles:
    return MediaFiles(folder=str(folder))


def test_path_is_relative_to_the_folder_or_inside_it(files: MediaFiles, folder: Path) -> None:
    assert files.read("pictures/a.png", MOST) == b"picture"
    assert files.read(str(folder / "pictures" / "a.png"), MOST) == b"picture"
    assert files.read("pictures/../pictures/a.png", MOST) == b"picture"


@pytest.mark.parametrize("name", ["../secret", "pictures/../../secret", "/etc/hostname", ".."])
def test_path_outside_of_the_folder_is_refused(files: MediaFiles, name: str) -> None:
    with pytest.raises(ValueError, match="leads out of the input's folder"):
        files.read(name, MOST)


@pytest.mark.parametrize("anywhere", [True, False])
def test_link_outside_of_the_folder_is_refused(folder: Path, *, anywhere: bool) -> None:
    (folder / "link").symlink_to(folder.parent / "secret")
    (folder / "up").symlink_to(folder.parent)
    files = MediaFiles(folder=str(folder), anywhere=anywhere)

    for name in ("link", "up/secret"):
        with pytest.raises(ValueError, match="leads out of the input's folder"):
            files.read(name, MOST)


def test_uri_may_point_anywhere_except_from_a_form(files: MediaFiles, folder: Path) -> None:
    secret = f"file://{folder.parent / 'secret'}"
    form = MediaFiles(folder=str(folder), anywhere=False)

    assert files.read(secret, MOST) == b"secret"
    assert form.read(f"file://{folder}/pictures/a.png", MOST) == b"picture"
    with pytest.raises(ValueError, match="leads out of the input's folder"):
        form.read(secret, MOST)
    with pytest.raises(ValueError, match="a run from a form reads no files there"):
        form.read("memory://elsewhere/a.png", MOST)


def test_remote_folder_resolves_relative_paths(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/bucket/in/pictures/a.png", b"picture")
    memory.pipe("/bucket/secret", b"secret")
    form = MediaFiles(folder="memory://bucket/in", anywhere=False)

    assert form.read("pictures/a.png", MOST) == b"picture"
    assert form.read("memory://bucket/in/pictures/a.png", MOST) == b"picture"
    for name in ("../secret", "/secret", "memory://bucket/in/../secret", "memory://bucket/secret"):
        with pytest.raises(ValueError, match="out"):
            form.read(name, MOST)
    with pytest.raises(ValueError, match=r"missing\.png cannot be read"):
        form.read("missing.png", MOST)
    with pytest.raises(ValueError, match="out"):
        form.read(f"file://{tmp_path}", MOST)


def test_non_file_or_oversized_file_is_refused(files: MediaFiles, folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    (folder / "large").write_bytes(bytes(1500))

    with pytest.raises(ValueError, match="missing cannot be read below the input's folder: No"):
        files.read("missing", MOST)
    with pytest.raises(ValueError, match="pipe is not a regular file"):
        files.read("pipe", MOST)
    with pytest.raises(ValueError, match="pictures is not a regular file"):
        files.read("pictures", MOST)
    with pytest.raises(ValueError, match=r"has 0\.0 MB"):
        files.read("large", MOST)
    with pytest.raises(ValueError, match="zero byte"):
        files.read("a\0b", MOST)
    with pytest.raises(ValueError, match="File name too long"):
        files.read("iVBORw0KGgo" * 2000, MOST)


def test_base_folder_is_that_of_the_input_files(folder: Path) -> None:
    for uri in (folder, folder / "t.parquet", folder / "*.parquet", folder / "**" / "*.parquet"):
        assert folder_of(open_dataset(str(uri))) == str(folder)


def test_base_folder_of_a_remote_input_is_a_uri(folder: Path, tmp_path: Path) -> None:
    fsspec.filesystem("memory").pipe("/b/in/t.parquet", (folder / "t.parquet").read_bytes())

    for uri in ("memory://b/in", "memory://b/in/t.parquet", "memory://b/in/*.parquet"):
        assert folder_of(open_dataset(uri, beside=tmp_path / "beside")) == "memory://b/in"


def test_media_reader_can_be_pickled(files: MediaFiles) -> None:
    copy = pickle.loads(pickle.dumps(files))  # noqa: S301 - our own

    assert copy.read("pictures/a.png", MOST) == b"picture"


def test_remote_file_is_read_in_any_thread_and_a_local_one_at_once(folder: Path) -> None:
    fsspec.filesystem("memory").pipe("/c/in/a.png", b"picture")
    remote, local = MediaFiles(folder="memory://c/in"), MediaFiles(folder=str(folder))

    assert local.prepared("pictures/a.png", MOST) is None
    read = remote.prepared("a.png", MOST)
    assert read is not None
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(read).result() == b"picture"
    missing = remote.prepared("b.png", MOST)
    assert missing is not None
    with pytest.raises(ValueError, match=r"b\.png cannot be read"):
        missing()
    with pytest.raises(ValueError, match="leads out of"):
        remote.prepared("../b.png", MOST)
