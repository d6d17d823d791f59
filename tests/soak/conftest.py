"""Fixtures: one Prefect server and worker for the soak, and an emulator for each subject."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd
import pytest

from tests.prefect.conftest import KEY, MODEL, PrefectStage, stage
from tests.support.wait import wait_until
from together_emulator import Emulator, FaultRule

__all__ = ["stage"]

STOPPED_WITHIN_S = 30.0
"""Real seconds from a click in Prefect until nothing bills."""


@dataclass
class TimedBatch:
    """One emulator with a batch of a set duration.

    Attributes:
        block: Id of the credentials block with the provider's key and address.
    """

    stage: PrefectStage
    together: Emulator
    block: str
    folder: Path
    outputs: int = field(default=0)

    def rows(self, name: str, first: int, count: int) -> None:
        """Write an input file."""
        (self.folder / "input").mkdir(exist_ok=True)
        numbers = range(first, first + count)
        data = pd.DataFrame({"n": numbers, "prompt": [f"Question {n}" for n in numbers]})
        data.to_parquet(self.folder / "input" / name)

    @property
    def output(self) -> Path:
        """Where the answers are."""
        return self.folder / "answers"

    def job(self, **changes: Any) -> dict[str, Any]:
        """Return the parameters of the batch."""
        return {
            "input": str(self.folder / "input"),
            "model": MODEL,
            "output": str(self.output),
            "credentials": {"$ref": {"block_document_id": self.block}},
            "limits": {"concurrency": 1},
        } | changes

    def deploy(self, name: str, **more: Any) -> str:
        """Register a deployment of the batch; one run at a time, as `mayfly deploy` does."""
        return self.stage.prefect.deploy_again(
            name,
            "mayfly",
            history=self.folder / "history",
            **more,
        )

    def answered(self) -> int:
        """Return how many requests were answered."""
        chats = (call for call in self.together.calls() if call.path.startswith("/v1/chat/"))
        return sum(call.effect == 200 for call in chats)

    def await_midway(self) -> None:
        """Wait until some rows are answered."""
        wait_until(lambda: self.answered() >= 3, "the first answers")

    def await_stopped(self) -> None:
        """Wait until nothing bills; at most as long as is promised."""
        wait_until(
            lambda: self.together.billing == 0,
            "end of billing",
            timeout_s=STOPPED_WITHIN_S,
        )
        wait_until(lambda: not self.together.has_endpoints, "the deletion")

    def assert_complete(self, rows: int) -> None:
        """Check that every row has one response."""
        answers = pd.read_parquet(self.output)
        assert answers["n"].tolist() == list(range(rows))
        assert answers["response"].notna().all()


@pytest.fixture
def batch(stage: PrefectStage, tmp_path: Path) -> Iterator[TimedBatch]:
    """A provider that answers one request in a quarter of a second, and 60 rows."""
    with Emulator(speed=60.0, key=KEY) as together:
        together.use_faults(FaultRule(action="delay", path="^/v1/chat/", delay_s=0.25))
        block = stage.prefect.save_block(
            "together-credentials", f"soak-{uuid4().hex}", api_key=KEY, base_url=together.url
        )
        batch = TimedBatch(stage, together, str(block["id"]), tmp_path)
        batch.rows("a.parquet", 0, 60)
        yield batch
