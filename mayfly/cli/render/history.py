"""Past runs as a table and bars, or as totals by tag."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from mayfly.cli.render.estimates import compact
from mayfly.cli.render.fitting_table import Column, FittingTable
from mayfly.cli.render.hardware import short_hardware
from mayfly.planning.pricing import dollars

BARS = 12
"""Number of newest runs drawn as bars."""

BAR_COLUMNS = 30


def history_table(runs: Sequence[Mapping[str, Any]], *, by: str | None = None) -> RenderableType:
    """Draw all runs, oldest first, or a line that there are none.

    Args:
        by: Show totals by the values of this tag instead.
    """
    if not runs:
        return Text(
            "no runs yet; each run that used an endpoint is listed here, but none with --local"
        )
    held = [
        figure["held"]
        for run in runs
        for figure in (run.get("estimate") or {}).values()
        if figure.get("held") is not None
    ]
    usd = sum(run.get("usd") or 0.0 for run in runs)
    rows = sum(run.get("rows") or 0 for run in runs)
    line = f" {len(runs):,} run{'s' if len(runs) > 1 else ''}, {rows:,} rows, {dollars(usd)}"
    if held:
        line += f"; {sum(held)} of {len(held)} estimates held (!: outside its interval)"
    total = Text(line, style="dim")
    if by is not None:
        return Group(_tag_table(by_tag(runs, by), by), total)
    return Group(_run_table(runs), Text(""), _bars(runs[-BARS:]), total)


def by_tag(runs: Sequence[Mapping[str, Any]], tag: str) -> list[dict[str, Any]]:
    """Return totals of runs by the values of a tag, most expensive first; "" means without it."""
    sums: dict[str, dict[str, Any]] = {}
    for run in runs:
        value = str((run.get("tags") or {}).get(tag, ""))
        into = sums.setdefault(value, {"value": value, "runs": 0} | dict.fromkeys(_SUMMED, 0))
        into["runs"] += 1
        for name in _SUMMED:
            into[name] += run.get(name) or 0
    for into in sums.values():
        tokens = into["prompt_tokens"] + into["completion_tokens"]
        into["usd"] = round(into["usd"], 4)
        into["usd_per_million_tokens"] = into["usd"] * 1e6 / tokens if tokens else None
    return sorted(sums.values(), key=lambda into: -into["usd"])


_SUMMED = ("rows", "failed", "prompt_tokens", "completion_tokens", "usd")


def _tag_table(sums: Sequence[Mapping[str, Any]], tag: str) -> FittingTable:
    def column(name: str, cells: list[str], left_out_at: int | None = None) -> Column:
        narrower = {} if left_out_at is None else {left_out_at: None}
        return Column(name=name, cells=cells, narrower=narrower, right=True)

    return FittingTable(
        [
            Column(name=tag, cells=[each["value"] or "-" for each in sums]),
            column("runs", [f"{each['runs']:,}" for each in sums]),
            column("rows", [f"{each['rows']:,}" for each in sums]),
            column("failed", [f"{each['failed']:,}" for each in sums], 1),
            column("tokens in", [f"{each['prompt_tokens']:,}" for each in sums], 2),
            column("tokens out", [f"{each['completion_tokens']:,}" for each in sums], 2),
            column("cost", [dollars(each["usd"]) for each in sums]),
            column("$/Mtok", [_per_million(each) for each in sums], 3),
        ]
    )


def _run_table(runs: Sequence[Mapping[str, Any]]) -> FittingTable:
    def right(name: str, cells: list[str], left_out_at: int | None = None) -> Column:
        narrower = {} if left_out_at is None else {left_out_at: None}
        return Column(name=name, cells=cells, narrower=narrower, right=True)

    models = [str(run.get("model", "")).rsplit("/", 1)[-1] for run in runs]
    outcomes = [str(run.get("outcome", "")) for run in runs]
    hardware = [short_hardware(str(run.get("hardware", ""))) for run in runs]
    return FittingTable(
        [
            Column(name="when", cells=[_when(run.get("started_at")) for run in runs]),
            Column(
                name="model",
                cells=[model[:40] for model in models],
                narrower={1: [model[:16] for model in models], 3: None},
            ),
            Column(name="hardware", cells=hardware, narrower={1: None}),
            right("rows", [f"{run.get('rows', 0):,}" for run in runs]),
            right("tokens out", [f"{run.get('completion_tokens', 0):,}" for run in runs], 2),
            right("tokens/s", [f"{run.get('completion_tokens_per_s') or 0:,.0f}" for run in runs]),
            right("time", [_time(run) for run in runs]),
            right("cost", [dollars(run.get("usd") or 0.0) for run in runs]),
            # If this column is dropped, figures outside their interval are still marked.
            right("estimate", [_estimate(run) for run in runs], 1),
            right("$/Mtok", [_per_million(run) for run in runs], 1),
            Column(
                name="outcome",
                cells=[outcome[:40] for outcome in outcomes],
                narrower={1: [outcome[:10] for outcome in outcomes], 4: None},
            ),
        ]
    )


def _bars(runs: Sequence[Mapping[str, Any]]) -> FittingTable:
    """Draw bars of dollars per million tokens and of tokens per second for each run."""
    prices = [run.get("usd_per_million_tokens") or 0.0 for run in runs]
    rates = [run.get("completion_tokens_per_s") or 0.0 for run in runs]
    return FittingTable(
        [
            Column(name="when", cells=[_when(run.get("started_at")) for run in runs]),
            Column(
                name="$ per million tokens",
                cells=[f"{_bar(price, max(prices))} {price:,.2f}" for price in prices],
            ),
            Column(
                name="tokens/s",
                cells=[f"{_bar(rate, max(rates))} {rate:,.0f}" for rate in rates],
                narrower={1: None},
            ),
        ]
    )


def _bar(value: float, most: float) -> str:
    """Return a bar of block characters, with a resolution of an eighth of a column."""
    eighths = round(value / most * (BAR_COLUMNS - 10) * 8) if most > 0 else 0
    return "█" * (eighths // 8) + ("▏▎▍▌▋▊▉"[eighths % 8 - 1] if eighths % 8 else "")


def _when(unix_s: float | None) -> str:
    return time.strftime("%m-%d %H:%M", time.localtime(unix_s)) if unix_s else "-"


def _time(run: Mapping[str, Any]) -> str:
    seconds = (run.get("estimate") or {}).get("seconds") or {}
    took_s = max(0.0, (run.get("ended_at") or 0.0) - (run.get("started_at") or 0.0))
    return compact(seconds["actual"] if seconds else took_s) + _mark(seconds)


def _estimate(run: Mapping[str, Any]) -> str:
    usd = (run.get("estimate") or {}).get("usd") or {}
    return f"{dollars(usd['mid'])}{_mark(usd)}" if usd else "-"


def _mark(figure: Mapping[str, Any]) -> str:
    return "!" if figure.get("held") is False else ""


def _per_million(run: Mapping[str, Any]) -> str:
    price = run.get("usd_per_million_tokens")
    return "-" if price is None else f"{price:,.2f}"
