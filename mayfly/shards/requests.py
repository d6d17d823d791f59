"""Render the rows of a job, for code that compares requests without sending them."""

from collections.abc import Iterator
from typing import NamedTuple

from mayfly.inference.request_builder import Renderer
from mayfly.models.rows import RowRequest
from mayfly.storage.dataset import Dataset


class RequestSource(NamedTuple):
    """Renders the requests of a dataset's rows.

    Attributes:
        model: The model as the job names it.
    """

    dataset: Dataset
    renderer: Renderer
    model: str

    def requests(self, first_row: int, rows: int) -> Iterator[RowRequest]:
        """Yield the requests of some rows, in their order."""
        for chunk in self.dataset.read(first_row, rows, self.renderer.needs):
            yield from self.renderer.bodies(self.model, chunk.first_row, chunk.columns, chunk.rows)
