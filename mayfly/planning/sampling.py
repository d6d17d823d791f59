"""Sample rows, spread over the input, rendered as they would be sent."""

from collections.abc import Callable, Iterator
from typing import Any

import orjson

from mayfly.inference.request_builder import Renderer
from mayfly.models.rows import RowRequest
from mayfly.planning.media_tokens import part_tokens
from mayfly.planning.tokens import Sample, guessed_tokens
from mayfly.storage.dataset import Dataset

SAMPLED_ROWS = 512
SAMPLE_POSITIONS = 16
"""Positions in the input from which rows are taken, the same number from each."""

SAMPLED_BYTES = 64 * 2**20
"""Maximum input bytes to read for the sample: a few dozen rows where each has an image."""

MAX_ROWS_SKIPPED = 20_000
"""Rows to decode at most in order to reach a position inside a row group."""

MESSAGE_TOKENS = 4
"""Tokens that a chat template adds around each message, and before the answer."""


def take_sample(
    dataset: Dataset, renderer: Renderer, model: str, *, count: Callable[[str], int] | None = None
) -> Sample:
    """Render some rows and count their tokens, or estimate them from their characters.

    Args:
        count: The model's tokenizer, where one is available locally.
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
    """Yield rows from evenly spaced positions of the input, or all rows of a small input."""
    row_bytes = max(1, sum(group.bytes for group in dataset.row_groups) // dataset.rows)
    most = min(SAMPLED_ROWS, max(SAMPLE_POSITIONS, SAMPLED_BYTES // row_bytes))
    each = max(1, most // SAMPLE_POSITIONS)
    if dataset.rows <= most:
        spans = [(0, dataset.rows)]
    else:
        spans = [
            (position, min(each, dataset.rows - position))
            for position in dict.fromkeys(
                _near_group_start(dataset, dataset.rows * number // SAMPLE_POSITIONS)
                for number in range(SAMPLE_POSITIONS)
            )
        ]
    for first, rows in spans:
        for chunk in dataset.read(first, rows, renderer.needs, batch_rows=rows):
            yield from renderer.bodies(model, chunk.first_row, chunk.columns, chunk.rows)


def prompt_content(body: bytes) -> tuple[list[str], float]:
    """Return the texts of a request's prompt, and the tokens of its images, audio and video."""
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


def _near_group_start(dataset: Dataset, row: int) -> int:
    """Return the row, or the start of its row group when the row is far inside it."""
    start = 0
    for group in dataset.row_groups:
        if row < start + group.rows:
            break
        start += group.rows
    return start if row - start > MAX_ROWS_SKIPPED else row
