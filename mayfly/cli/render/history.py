"""Past runs as a table and as bars, as wide as there is place for."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from mayfly.cli.render.console import UNWRAPPED
from mayfly.cli.render.estimates import compact
from mayfly.planning.pricing import dollars

BARS = 12
"""Runs that are drawn as bars, the newest."""

BAR_COLUMNS = 30


class HistoryTable:
    """Draws runs, oldest first: what they did, took and cost, and how that was foreseen."""

    def __init__(self, runs: Sequence[Mapping[str, Any]]) -> None:
        self._runs = runs

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the widest table that fits, then a bar for each of the newest runs."""
        unbounded = options.update(width=UNWRAPPED)
        for short in (False, True):
            table = self._draw(short=short)
            if Measurement.get(console, unbounded, table).maximum <= options.max_width:
                break
        yield table
        yield from _bars(self._runs[-BARS:])

    def _draw(self, *, short: bool) -> Table:
        table = Table(box=None, padding=(0, 1), pad_edge=True, header_style="bold")
        names = ["when", "model", *(() if short else ("hardware",)), "rows", "tokens out"]
        names += ["tok/s", "took", "cost", *(() if short else ("foreseen", "$/Mtok"))]
        left = {"when", "model", "hardware", "outcome"}
        for name in (*names, "outcome"):
            table.add_column(name, no_wrap=True, justify="left" if name in left else "right")
        for run in self._runs:
            estimate = run.get("estimate") or {}
            usd, seconds = estimate.get("usd") or {}, estimate.get("seconds") or {}
            foreseen = f"{dollars(usd['mid'])}{_held(usd)}" if usd else "-"
            # Where there is no place for the estimates, what they missed is marked at the figure.
            row = [
                _when(run.get("started_at")),
                str(run.get("model", "")).rsplit("/", 1)[-1][: 16 if short else 40],
                *(() if short else (str(run.get("hardware", "")).replace("nvidia-", ""),)),
                f"{run.get('rows', 0):,}",
                f"{run.get('completion_tokens', 0):,}",
                f"{run.get('completion_tokens_per_s') or 0:,.0f}",
                compact(seconds["actual"] if seconds else _took(run)) + _held(seconds),
                dollars(run.get("usd") or 0.0),
                *(() if short else (foreseen, _per_million(run))),
                str(run.get("outcome", ""))[: 10 if short else 40],
            ]
            table.add_row(*row)
        return table


def history_table(runs: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Draw all runs, or say that there are none."""
    if not runs:
        return Text("no runs yet; each run that had an endpoint adds a line")
    held = [
        figure["held"]
        for run in runs
        for figure in (run.get("estimate") or {}).values()
        if figure.get("held") is not None
    ]
    usd = sum(run.get("usd") or 0.0 for run in runs)
    rows = sum(run.get("rows") or 0 for run in runs)
    line = f" {len(runs)} runs, {rows:,} rows, {dollars(usd)}"
    if held:
        line += f"; {sum(held)} of {len(held)} estimates held the truth (missed: !)"
    return Group(HistoryTable(runs), Text(line, style="dim"))


def _bars(runs: Sequence[Mapping[str, Any]]) -> RenderResult:
    """Draw dollars per million tokens and tokens per second of each run."""
    prices = [run.get("usd_per_million_tokens") or 0.0 for run in runs]
    paces = [run.get("completion_tokens_per_s") or 0.0 for run in runs]
    yield Text("")
    table = Table(box=None, padding=(0, 1), pad_edge=True, header_style="bold")
    table.add_column("when", no_wrap=True)
    table.add_column("$ per million tokens", no_wrap=True)
    table.add_column("tokens/s", no_wrap=True)
    for run, price, throughput in zip(runs, prices, paces, strict=True):
        table.add_row(
            _when(run.get("started_at")),
            Text.assemble((_bar(price, max(prices)), "cyan"), f" {price:,.2f}"),
            Text.assemble((_bar(throughput, max(paces)), "green"), f" {throughput:,.0f}"),
        )
    yield table


def _bar(value: float, most: float) -> str:
    """Return a bar of block characters, an eighth of a column fine."""
    eighths = round(value / most * (BAR_COLUMNS - 10) * 8) if most > 0 else 0
    return "█" * (eighths // 8) + ("▏▎▍▌▋▊▉"[eighths % 8 - 1] if eighths % 8 else "")


def _when(unix_s: float | None) -> str:
    return time.strftime("%m-%d %H:%M", time.localtime(unix_s)) if unix_s else "-"


def _took(run: Mapping[str, Any]) -> float:
    return max(0.0, (run.get("ended_at") or 0.0) - (run.get("started_at") or 0.0))


def _held(figure: Mapping[str, Any]) -> str:
    return "!" if figure.get("held") is False else ""


def _per_million(run: Mapping[str, Any]) -> str:
    price = run.get("usd_per_million_tokens")
    return "-" if price is None else f"{price:,.2f}"
