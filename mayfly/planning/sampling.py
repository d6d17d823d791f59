"""A sample of the rows as they would be sent, spread over the input."""

from collections.abc import Callable, Iterator
from typing import Any

import orjson

from mayfly.inference.request_builder import Renderer
from mayfly.models.rows import RowRequest
from mayfly.planning.media_tokens import part_tokens
from mayfly.planning.tokens import Sample, guessed_tokens
from mayfly.storage.dataset import Dataset

SAMPLED_ROWS = 512
PLACES = 16
"""Places in the input from which the rows are taken, the same number from each."""

SAMPLED_BYTES = 64 * 2**20
"""Of input that is read for the sample: a few dozen rows where each has an image."""

FAR_INTO_A_GROUP = 20_000
"""Rows of a row group that are not worth decoding on the way to a place inside it."""

MESSAGE_TOKENS = 4
"""What a chat template puts around each message, and before the answer."""


def take_sample(
    dataset: Dataset, renderer: Renderer, model: str, *, count: Callable[[str], int] | None = None
) -> Sample:
    """Render some rows and count their tokens, or guess them by their characters.

    Args:
        count: The model's own tokenizer, where one is at hand.
    """
    tokens: list[float] = []
    size = unsendable = 0
    counted = count is not None
    for request in sampled_requests(dataset, renderer, model):
        if request.failure is not None:
            unsendable += 1
            continue
        texts, media = prompt_content(request.body)
        each = count or guessed_tokens
        counted = counted and not media
        tokens.append(MESSAGE_TOKENS + media + sum(each(text) + MESSAGE_TOKENS for text in texts))
        size += len(request.body)
    rendered = len(tokens) + unsendable
    return Sample(
        rows=dataset.rows,
        tokens=tuple(tokens),
        counted=counted,
        body_bytes=size / max(1, len(tokens)),
        unsendable=unsendable / max(1, rendered),
    )


def sampled_requests(dataset: Dataset, renderer: Renderer, model: str) -> Iterator[RowRequest]:
    """Yield rows from places that are evenly spread over the input, or all rows of a small one."""
    row_bytes = max(1, sum(group.bytes for group in dataset.row_groups) // dataset.rows)
    most = min(SAMPLED_ROWS, max(PLACES, SAMPLED_BYTES // row_bytes))
    each = max(1, most // PLACES)
    if dataset.rows <= most:
        spans = [(0, dataset.rows)]
    else:
        spans = [
            (place, min(each, dataset.rows - place))
            for place in dict.fromkeys(
                _near_a_start(dataset, dataset.rows * number // PLACES) for number in range(PLACES)
            )
        ]
    for first, rows in spans:
        for chunk in dataset.read(first, rows, renderer.needs, batch_rows=rows):
            yield from renderer.bodies(model, chunk.first_row, chunk.columns, chunk.rows)


def prompt_content(body: bytes) -> tuple[list[str], float]:
    """Return the texts of a request's prompt, and the tokens of its images, sound and videos."""
    request: dict[str, Any] = orjson.loads(body)
    if "messages" not in request:
        return _texts(request.get("prompt", request.get("input", ""))), 0.0
    contents = [message.get("content") for message in request["messages"]]
    media = sum(
        part_tokens(part)
        for content in contents
        if isinstance(content, list)
        for part in content
        if isinstance(part, dict)
    )
    return [text for content in contents for text in _texts(content)], media


def _texts(content: Any) -> list[str]:
    if isinstance(content, str):
        return [content]
    if isinstance(content, list):
        return [
            part if isinstance(part, str) else str(part.get("text") or "")
            for part in content
            if isinstance(part, str | dict)
        ]
    return []


def _near_a_start(dataset: Dataset, row: int) -> int:
    """Return the row, or the start of its row group when that is far before it."""
    start = 0
    for group in dataset.row_groups:
        if row < start + group.rows:
            break
        start += group.rows
    return start if row - start > FAR_INTO_A_GROUP else row
