"""Token estimates of images, audio and video."""

from base64 import b64encode
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mayfly.inference.request_builder import Renderer
from mayfly.models.job import PromptSpec, Sampling
from mayfly.planning.media_tokens import UNSEEN_IMAGE_TOKENS, VIDEO_TOKENS, part_tokens
from mayfly.planning.sampling import sampled_requests, take_sample
from mayfly.storage.open_input import open_dataset
from tests.support.pictures import jpeg, mp4, png, wav


def part(content: bytes | str, kind: str = "image") -> dict[str, object]:
    url = content
    if isinstance(content, bytes):
        url = f"data:{kind}/x;base64,{b64encode(content).decode()}"
    return {"type": f"{kind}_url", f"{kind}_url": {"url": url}}


@pytest.mark.parametrize(
    ("given", "tokens"),
    [
        (part(png(280, 560)), 200),
        (part(jpeg(280, 560, meta_bytes=30_000)), 200),
        (part(png(1, 1)), 1),
        (part("https://a.example/x.png"), UNSEEN_IMAGE_TOKENS),
        (part(b"GIF89a"), UNSEEN_IMAGE_TOKENS),
        (part(mp4(), "video"), VIDEO_TOKENS),
        (part(wav(10), "audio"), 500),
        ({"type": "text", "text": "x"}, 0),
    ],
)
def test_part_tokens_are_estimated(given: dict[str, object], tokens: float) -> None:
    assert part_tokens(given) == pytest.approx(tokens, rel=0.01)


def test_sample_counts_images(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"image": [png(560, 560)] * 20}), path)
    prompt = PromptSpec(template="hi", image_columns=("image",))
    dataset = open_dataset(str(path))
    renderer = Renderer(prompt, Sampling(), dataset.columns)

    sample = take_sample(dataset, renderer, "m", count=len)

    assert sample.mean == pytest.approx(400, rel=0.1)
    assert not sample.counted, "what a tokenizer does not count is still to be learned"


def test_sample_of_large_rows_is_small(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(
        pa.table({"image": [png(more_bytes=9 * 10**5 + n) for n in range(90)]}),
        path,
        row_group_size=10,
    )
    dataset = open_dataset(str(path))
    prompt = PromptSpec(template="hi", image_columns=("image",))

    taken = list(sampled_requests(dataset, Renderer(prompt, Sampling(), dataset.columns), "m"))

    assert 16 <= len(taken) < 90
