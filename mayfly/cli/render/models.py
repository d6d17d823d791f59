"""Models that can be deployed, a line each."""

from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table

from mayfly.models.catalogue import ModelEntry


class ModelTable:
    """Draws models; of own ones with their base model and whether there is a config."""

    def __init__(self, entries: Sequence[ModelEntry], *, mine: bool) -> None:
        self._entries, self._mine = entries, mine

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the table."""
        table = Table(box=None, padding=(0, 1), pad_edge=True, header_style="bold")
        table.add_column("model", no_wrap=True)
        for column in ("kind", "base model") if self._mine else ("input",):
            table.add_column(column, no_wrap=True)
        for column in ("context", "configs", *(() if self._mine else ("$/Mtok by token",))):
            table.add_column(column, justify="right", no_wrap=True)
        if self._mine:
            table.add_column("id", no_wrap=True)
        for entry in self._entries:
            configs = (
                "?" if entry.configs is None else str(entry.configs) if entry.configs else "none"
            )
            context = "-" if entry.context is None else f"{entry.context:,}"
            if self._mine:
                row = [entry.name, entry.kind, entry.base or "-", context, configs, entry.id]
            else:
                usd = entry.token_usd
                price = "-" if usd is None else f"{usd[0]:g} in, {usd[1]:g} out"
                row = [entry.name, ", ".join(entry.modalities) or "-", context, configs, price]
            table.add_row(*row, style="" if entry.configs else "dim")
        yield table
