"""Damage of an input that planning meets is a wrong request: exit 2, nothing created."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mayfly.inference.request_builder import Renderer
from mayfly.models.errors import BadRequest
from mayfly.models.job import Job
from mayfly.models.rows import EMPTY_TALLY
from mayfly.planning.preview import preview_job
from mayfly.planning.workload import estimate_workload
from mayfly.storage.open_input import open_dataset

GROUPS, GROUP_ROWS = 4, 5_000


def damaged(path: Path, group: int) -> Job:
    """Write an input with damaged prompts in one row group; return a job over it."""
    texts = [os.urandom(40).hex() for _ in range(GROUPS * GROUP_ROWS)]
    pq.write_table(pa.table({"prompt": texts}), path, row_group_size=GROUP_ROWS)
    leaf = pq.read_metadata(path).row_group(group).column(0)
    start = leaf.dictionary_page_offset or leaf.data_page_offset
    data = bytearray(path.read_bytes())
    data[start : start + leaf.total_compressed_size] = bytes(leaf.total_compressed_size)
    path.write_bytes(data)
    return Job.model_validate(
        {"input": str(path), "model": "m/m", "output": str(path.parent / "out")}
    )


@pytest.mark.parametrize("group", [0, GROUPS - 1])
def test_damaged_prompt_is_a_wrong_request_wherever_it_is(tmp_path: Path, group: int) -> None:
    with pytest.raises(BadRequest, match=r"in\.parquet cannot be read"):
        preview_job(damaged(tmp_path / "in.parquet", group), "loopback", writes=False)


def test_damage_in_the_sampled_rows_is_a_wrong_request(tmp_path: Path) -> None:
    job = damaged(tmp_path / "in.parquet", GROUPS - 1)
    dataset = open_dataset(job.input)
    renderer = Renderer(job.prompt, job.sampling, dataset.columns)

    with pytest.raises(BadRequest, match=r"in\.parquet cannot be read"):
        estimate_workload(
            job,
            dataset,
            renderer,
            before=EMPTY_TALLY,
            finished=False,
            past=[],
            folders={"HOME": str(tmp_path)},
        )
