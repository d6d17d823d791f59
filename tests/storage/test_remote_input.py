"""Inputs on a Hugging Face hub and on S3, over HTTP against test servers."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mayfly.models.errors import BadRequest
from mayfly.storage.dataset import Dataset
from mayfly.storage.open_input import open_dataset
from tests.support.fake_hub import fake_hub

pytest.importorskip("huggingface_hub")
pytest.importorskip("s3fs")

READ_HUB = """
import sys
from mayfly.storage.open_input import open_dataset
dataset = open_dataset(sys.argv[1])
print([value for chunk in dataset.read(0, dataset.rows) for value in chunk.columns["prompt"]])
"""


def parquet(**columns: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def column(dataset: Dataset, name: str) -> list[Any]:
    return [v for chunk in dataset.read(0, dataset.rows) for v in chunk.columns[name]]


@pytest.mark.parametrize("below", ["", "/data/*.parquet", "/data/train-1.parquet"])
def test_hugging_face_dataset_is_read_without_its_card(tmp_path: Path, below: str) -> None:
    files = {
        "README.md": b"# The card",
        "data/train-0.parquet": parquet(prompt=["zero"]),
        "data/train-1.parquet": parquet(prompt=["one"]),
    }
    with fake_hub(files) as (url, asked):
        # The hub's address is read when its package is imported.
        env = {**os.environ, "HF_ENDPOINT": url, "HF_HOME": str(tmp_path), "HF_TOKEN": "t"}
        done = subprocess.run(
            [sys.executable, "-c", READ_HUB, f"hf://datasets/org/name{below}"],
            env=env,
            capture_output=True,
            text=True,
            check=True,
        )

    assert done.stdout.strip() == ("['one']" if below.endswith("1.parquet") else "['zero', 'one']")
    fetched = [path for path in asked if "/resolve/" in path]
    assert len(fetched) == len(set(fetched))


WITHOUT = """
import sys
from mayfly.models.errors import BadRequest
from mayfly.storage.open_input import open_dataset
sys.modules[sys.argv[1]] = None
try:
    open_dataset(sys.argv[2])
except BadRequest as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("protocol", "extra", "package"), [("gs", "gcs", "gcsfs"), ("abfs", "azure", "adlfs")]
)
def test_uri_without_an_installed_driver_names_the_extra(
    protocol: str, extra: str, package: str
) -> None:
    # In a process of its own: fsspec keeps a driver that anything has loaded before.
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, package, f"{protocol}://bucket/key.parquet"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert f"pip install 'mayfly[{extra}]'" in done.stdout, done.stderr


@pytest.fixture(scope="module")
def bucket() -> Iterator[Any]:
    """A bucket on moto's server, which s3fs and others find by the environment."""
    server: Any = pytest.importorskip("moto.server")
    threaded = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    threaded.start()
    _, port = threaded.get_host_and_port()
    names = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in names.items():
            patch.setenv(name, value)
        # Other tests of this process have had servers of their own.
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        filesystem = fsspec.filesystem("s3", skip_instance_cache=True)
        filesystem.mkdir("inputs")
        yield filesystem
    threaded.stop()


def test_folders_and_globs_on_s3_are_read_with_their_partitions(bucket: Any) -> None:
    for year in (2023, 2024):
        bucket.pipe(f"inputs/in/year={year}/a.parquet", parquet(prompt=[f"of {year}"]))
    bucket.pipe("inputs/in/_SUCCESS", b"")

    dataset = open_dataset("s3://inputs/in")

    assert column(dataset, "prompt") == ["of 2023", "of 2024"]
    assert column(dataset, "year") == [2023, 2024]
    assert open_dataset("s3://inputs/in/*4/*.parquet").rows == 1


def test_json_lines_on_s3_are_copied(bucket: Any, tmp_path: Path) -> None:
    lines = "".join(json.dumps({"prompt": f"p{i}"}) + "\n" for i in range(1_000))
    bucket.pipe("inputs/lines/a.jsonl", lines.encode())

    dataset = open_dataset("s3://inputs/lines", beside=tmp_path)

    assert column(dataset, "prompt")[-1] == "p999"
    assert "before" in open_dataset("s3://inputs/lines", beside=tmp_path).copied


def test_delta_table_on_s3_is_read_by_its_log(bucket: Any) -> None:
    deltalake: Any = pytest.importorskip("deltalake")
    options = {"AWS_ALLOW_HTTP": "true", "AWS_S3_ALLOW_UNSAFE_RENAME": "true"}
    uri = "s3://inputs/table"
    rows = pa.table({"prompt": ["a", "b"]})
    deltalake.write_deltalake(uri, rows, storage_options=options)
    deltalake.DeltaTable(uri, storage_options=options).delete("prompt = 'a'")
    bucket.invalidate_cache()

    assert column(open_dataset(uri), "prompt") == ["b"]
    with pytest.raises(BadRequest, match="a Delta table; give the folder"):
        open_dataset(f"{uri}/*.parquet")
