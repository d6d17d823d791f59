"""The results of `mayfly.run` and `mayfly.plan`."""

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console

from mayfly.cli.render.plan import plan_table
from mayfly.models.errors import RunStopped, TerminalError
from mayfly.planning.plan import Plan
from mayfly.runs.results import read_results
from mayfly.storage.part_batches import table_of

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Result:
    """The outcome of a run, with access to its answers.

    Attributes:
        output: Absolute path or URI of the output folder.
        report: The content of `report.json`: rows, tokens, throughput, phases, cost.
        exit_code: As on the command line: 0 every row has a response, 3 some rows failed, 5 a
            limit stopped the run with rows left; the same call resumes it.
    """

    output: str
    report: dict[str, Any]
    exit_code: int

    def to_arrow(self) -> "pa.Table":
        """Return the results: rows in input order, the input's columns first.

        For a run that a limit stopped, these are the rows answered so far.

        Raises:
            TerminalError: There are no rows yet, or a part is damaged.
        """
        partial = self.exit_code == RunStopped.exit_code
        table = table_of(read_results(self.output, partial=partial).batches())
        if table is None:
            raise TerminalError(f"{self.output} holds no answers yet")
        return table

    def to_pandas(self) -> "pd.DataFrame":
        """Return the results as a pandas DataFrame (needs pandas: `mayfly[pandas]`)."""
        frame: pd.DataFrame = self.to_arrow().to_pandas()
        return frame

    def to_polars(self) -> "pl.DataFrame":
        """Return the results as a polars DataFrame (needs polars: `mayfly[polars]`)."""
        import polars as pl  # noqa: PLC0415 - an extra

        frame = pl.from_arrow(self.to_arrow())
        assert isinstance(frame, pl.DataFrame)  # noqa: S101 - of a table, not of an array
        return frame

    def __repr__(self) -> str:
        rows, cost = self.report["rows"], self.report["cost"]
        return (
            f"Result(rows={rows['total']:,}, failed={rows['failed']:,}, "
            f"usd={cost['usd']:.2f}, exit_code={self.exit_code}, output={self.output!r})"
        )


class Planned:
    """A plan; its repr is the output of `mayfly plan`.

    Attributes:
        usd_per_h: Dollars per hour of the endpoint that would be created first.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.usd_per_h = plan.usd_per_h

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as plain JSON values, as `mayfly plan --json` prints it."""
        return self._plan.as_dict()

    def __repr__(self) -> str:
        text = io.StringIO()
        # In a notebook, rich would show the table by itself and leave nothing to return.
        screen = Console(file=text, width=100, color_system=None, force_jupyter=False)
        screen.print(plan_table(self._plan))
        return text.getvalue().rstrip()
