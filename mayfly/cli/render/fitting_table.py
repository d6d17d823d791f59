"""A table that drops or shortens columns to fit the width, and never wraps a line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from mayfly.cli.render.console import UNWRAPPED


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a table.

    Attributes:
        cells: Cells of each row.
        narrower: Narrower cells by the level from which they are used; None drops the column.
        right: Whether cells are right-aligned.
    """

    name: str
    cells: Sequence[str]
    narrower: Mapping[int, Sequence[str] | None] = field(default_factory=dict)
    right: bool = False

    def at(self, level: int) -> Sequence[str] | None:
        """Return the cells at a level; None where the column is dropped."""
        reached = [other for other in self.narrower if other <= level]
        return self.narrower[max(reached)] if reached else self.cells


class FittingTable:
    """Draws a table at the first level that fits: level 0 is complete, higher levels are narrower.

    A table that does not fit at the last level is cut at the right.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        styles: Sequence[str] = (),
        notes: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Prepare the table; it is drawn when printed.

        Args:
            styles: Style of each row, such as `bold`.
            notes: What names of columns mean, printed below for those that are shown.
        """
        self._columns, self._styles, self._notes = columns, styles, notes
        self._last = max((level for column in columns for level in column.narrower), default=0)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the table."""
        unbounded = options.update(width=UNWRAPPED)
        for level in range(self._last + 1):
            table = self._draw(level)
            if Measurement.get(console, unbounded, table).maximum <= options.max_width:
                break
        yield table
        shown = {column.header for column in table.columns}
        if notes := [f"{name}: {text}" for name, text in self._notes.items() if name in shown]:
            yield Text(f" {'; '.join(notes)}", style="dim")

    def _draw(self, level: int) -> Table:
        table = Table(box=None, padding=(0, 1), pad_edge=True, header_style="bold")
        shown = [
            (column, cells) for column in self._columns if (cells := column.at(level)) is not None
        ]
        for column, _ in shown:
            table.add_column(column.name, justify="right" if column.right else "left", no_wrap=True)
        for index, row in enumerate(zip(*(cells for _, cells in shown), strict=True)):
            table.add_row(*row, style=self._styles[index] if self._styles else "")
        return table
