"""Input over HTTP: few requests, each byte once, credentials never shown."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mayfly.models.errors import BadRequest
from mayfly.storage.dataset import Dataset
from mayfly.storage.open_input import open_dataset
from mayfly.storage.remote_blocks import BLOCK
from mayfly.storage.uri_credentials import conceal
from tests.support.file_server import serving


def small_files(folder: Path, count: int) -> None:
    folder.mkdir()
    for number in range(count):
        pq.write_table(pa.table({"id": [number]}), folder / f"{number:05d}.parquet")


def ids(dataset: Dataset) -> list[object]:
    return [value for chunk in dataset.read(0, dataset.rows) for value in chunk.columns["id"]]


def test_small_files_are_fetched_once_with_one_request_each(
    tmp_path: Path,
) -> None:
    small_files(tmp_path / "in", 100)
    total = sum(file.stat().st_size for file in (tmp_path / "in").iterdir())
    with serving(tmp_path / "in", delay_s=0.01) as server:
        dataset = open_dataset(server.url, beside=tmp_path / "kept")
        listing = server.sent - total
        assert len(server.requests) == 101
        assert 0 < listing < 10_000

        server.forget()
        assert ids(dataset) == list(range(100))
        list(dataset.arrow_batches(0, 100))
        assert server.requests == []

        again = open_dataset(server.url, beside=tmp_path / "kept")
        assert server.sent <= listing
        assert again.fingerprint == dataset.fingerprint


@pytest.mark.parametrize("ranges", [True, False])
def test_large_file_is_read_by_ranges_with_each_byte_once(tmp_path: Path, ranges: bool) -> None:
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "a.parquet"
    texts = [os.urandom(5_000).hex() for _ in range(2_000)]
    pq.write_table(
        pa.table({"id": range(2_000), "text": texts}), path, compression="none", row_group_size=250
    )
    size = path.stat().st_size
    assert size > 4 * BLOCK
    with serving(tmp_path / "in", ranges=ranges) as server:
        dataset = open_dataset(server.url + "a.parquet", beside=tmp_path / "kept")
        if ranges:
            assert server.sent <= 2 * BLOCK
        assert ids(dataset) == list(range(2_000))
        read = [t for b in dataset.arrow_batches(0, 2_000) for t in b["text"].to_pylist()]
        assert read == texts
        assert server.sent == size


def test_changed_file_is_fetched_again(tmp_path: Path) -> None:
    small_files(tmp_path / "in", 1)
    path = tmp_path / "in" / "00000.parquet"
    with serving(tmp_path / "in") as server:
        uri = server.url + "00000.parquet"
        first = open_dataset(uri, beside=tmp_path / "kept")
        pq.write_table(pa.table({"id": [7]}), path)

        second = open_dataset(uri, beside=tmp_path / "kept")

        assert ids(second) == [7]
        assert first.fingerprint != second.fingerprint


def test_html_listing_is_a_folder_and_globs_match(tmp_path: Path) -> None:
    small_files(tmp_path / "in", 12)
    (tmp_path / "in" / "_SUCCESS").touch()
    with serving(tmp_path) as server:
        assert open_dataset(server.url + "in").rows == 12
        assert open_dataset(server.url + "in/0000*.parquet").rows == 10
        assert open_dataset(server.url + "*/0001[0-9].parquet").rows == 2
        with pytest.raises(BadRequest, match=r"in/00099\.parquet cannot be read: .*404"):
            open_dataset(server.url + "in/00099.parquet")


def test_json_lines_over_http_are_fetched_once(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text('{"id": 1}\n{"id": 2}\n')
    with serving(tmp_path / "in") as server:
        for _ in range(2):
            dataset = open_dataset(server.url + "a.jsonl", beside=tmp_path / "kept")
            assert ids(dataset) == [1, 2]
        assert server.sent == 20


def test_uri_credentials_are_used_and_never_shown(tmp_path: Path) -> None:
    small_files(tmp_path / "in", 1)
    fingerprints = set()
    with serving(tmp_path / "in") as server:
        host = server.url.removeprefix("http://")
        for secret in ("s3cret", "an0ther"):
            real = f"http://user:{secret}@{host}00000.parquet?name=a&sig={secret}"
            shown = conceal(real, os.environ)
            assert shown == f"http://user:***@{host}00000.parquet?name=a&sig=***"
            dataset = open_dataset(shown, beside=tmp_path / "kept" / str(len(secret)))
            assert ids(dataset) == [0]
            assert secret not in repr(dataset) + repr(dataset.describe())
            fingerprints.add(dataset.fingerprint)
            assert server.queries[-1] == f"name=a&sig={secret}"
            assert server.authorizations[-1].startswith("Basic ")
            with pytest.raises(BadRequest) as refused:
                open_dataset(conceal(real.replace("00000", "nothing"), os.environ))
            assert secret not in str(refused.value)
    assert len(fingerprints) == 1
