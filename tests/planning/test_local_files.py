"""Files of this machine that cells name: found before other machines are to send their rows."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mayfly.models.job import Job
from mayfly.planning.local_files import local_file_of
from mayfly.planning.preview import preview_job
from tests.support.pictures import png

URL = "https://example.com/1.png"


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        ([URL, "not-there.png", "photos/2.png"], "photos/2.png"),
        ([URL, {"bytes": None, "path": "photos/2.png"}], "photos/2.png"),
        ([URL, "data:image/png;base64,iVBORw0KGgo="], None),
        ([URL, "not-there.png"], None),
    ],
)
def test_first_readable_local_file_is_found(
    tmp_path: Path, cells: list[object], found: str | None
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "2.png").write_bytes(png())
    pictures = [cell if isinstance(cell, dict) else {"path": cell} for cell in cells]
    table = pa.table({"prompt": ["what?"] * len(cells), "picture": pictures})
    pq.write_table(table, tmp_path / "in.parquet")
    job = Job.model_validate(
        {
            "input": str(tmp_path / "in.parquet"),
            "model": "m/m",
            "output": str(tmp_path / "out"),
            "prompt": {"image_columns": ["picture"]},
        }
    )

    local = local_file_of(preview_job(job, "loopback", writes=False))

    assert (None if local is None else local.name) == found
    assert local is None or local.media.read(local.name, 10_000) == png()
