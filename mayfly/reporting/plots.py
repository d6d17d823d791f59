"""The report's plots: drawn by matplotlib, as SVG that takes its colours from the page.

Import this where a report is written and nowhere earlier: matplotlib takes half a second.
"""

import io
import logging
import threading
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from mayfly.models.durations import short, span
from mayfly.reporting.svg import INK, LINE, ONE, SOFT, THREE, TWO, for_the_page

POINTS = 90
"""Points on a line: finer than this, noise hides the shape."""

_LOCK = threading.Lock()
_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: it can be read out, searched and scaled
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": SOFT,
    "grid.color": LINE,
    "axes.grid": True,
    "axes.axisbelow": True,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.frameon": False,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """One plot of the page.

    Attributes:
        text: What it shows, in words, for those who cannot see it.
        svg: The element, ready to stand in HTML.
    """

    name: str
    title: str
    text: str
    svg: str


def plots(report: dict[str, Any]) -> dict[str, Plot]:
    """Draw what there is something to draw of; by name: `timeline`, `pace`, `latency`."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    drawn = {}
    # Settings of matplotlib are the process's; two runs may end in one at the same time.
    with _LOCK, rc_context(_STYLE):
        for draw in (_timeline, _pace, _latency):
            if (plot := draw(report)) is not None:
                drawn[plot.name] = plot
    return drawn


def _plot(name: str, title: str, text: str, figure: Figure) -> Plot:
    file = io.StringIO()
    with rc_context({"svg.hashsalt": name}):
        FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None})  # type: ignore[no-untyped-call]
    svg = for_the_page(ET.fromstring(file.getvalue()), title=title, text=text)  # noqa: S314 - ours
    return Plot(name=name, title=title, text=text, svg=svg)


# When what stood and what billed.


def _timeline(report: dict[str, Any]) -> Plot | None:
    """Draw the run's steps, and below each endpoint: what it did, and when it billed."""
    start = report["started_at"]
    end_s = max(report["ended_at"] - start, 0.1)
    steps = [step for step in report["phases"] if step["phase"] != "done"]
    lives = [_life(endpoint, start, end_s) for endpoint in report["endpoints"]]
    figure = Figure(figsize=(9, 0.95 + 0.42 * (1 + len(lives))), layout="constrained")
    axes = figure.subplots()
    colours = {"inferring": ONE, "waiting": LINE}
    for step in steps:
        width_s = step["to_s"] - step["from_s"]
        colour = colours.get(step["phase"], SOFT)
        axes.barh(0, width_s, left=step["from_s"], height=0.55, color=colour, alpha=0.6)
        if width_s > end_s * 0.09:
            _label(axes, step["from_s"] + width_s / 2, 0, step["phase"].replace("_", " "))
    for row, life in enumerate(lives, start=1):
        for from_s, to_s, word, colour in life:
            axes.barh(row, to_s - from_s, left=from_s, height=0.55, color=colour, alpha=0.6)
            if word and to_s - from_s > end_s * 0.09:
                _label(axes, (from_s + to_s) / 2, row, word)
    names = ["run", *(endpoint["hardware"] or "endpoint" for endpoint in report["endpoints"])]
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlim(0, end_s)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    _seconds(axes)
    billed = sum(to_s - from_s for life in lives for from_s, to_s, word, _ in life if word)
    text = f"The run took {span(end_s)}. " + (
        f"The endpoint billed for {span(billed)} of it; starting and stopping cost nothing."
        if lives
        else "No endpoint was rented."
    )
    return _plot("timeline", "The run and its endpoint", text, figure)


def _life(
    endpoint: dict[str, Any], start: float, end_s: float
) -> list[tuple[float, float, str, str]]:
    """Return the parts of an endpoint's life: from, to (seconds since the start), word, colour."""
    proof = endpoint["teardown"] or {}
    created_s = endpoint["created_at"] - start
    gone_s = (proof.get("gone_at") or proof.get("stopped_at") or start + end_s) - start
    if endpoint["ready_at"] is None:
        return [(created_s, gone_s, "", LINE)]
    ready_s = endpoint["ready_at"] - start
    stopped_s = (proof.get("stopped_at") or start + end_s) - start
    return [
        (created_s, ready_s, "", LINE),
        (ready_s, stopped_s, f"billed: ${endpoint['usd']:.2f}", TWO),
        (stopped_s, max(gone_s, stopped_s), "", LINE),
    ]


def _label(axes: Axes, x: float, y: float, text: str) -> None:
    axes.text(x, y, text, ha="center", va="center", fontsize=8, color=INK)


# How fast.


def _pace(report: dict[str, Any]) -> Plot | None:
    """Draw rows a second, tokens a second and requests in flight over time."""
    series = report["series"]
    if len(series["at_s"]) < 3:
        return None
    figure = Figure(figsize=(9, 5), layout="constrained")
    rows, tokens, flight = figure.subplots(3, 1, sharex=True)
    for axes, name, colour, label in (
        (rows, "rows", ONE, "rows/s"),
        (tokens, "completion_tokens", TWO, "tokens out/s"),
    ):
        at_s, rates = _rates(series["at_s"], series[name])
        axes.fill_between(at_s, rates, color=colour, alpha=0.18, linewidth=0)
        axes.plot(at_s, rates, color=colour, linewidth=1.4)
        _title(axes, label)
    flight.plot(series["at_s"], series["in_flight"], color=THREE, linewidth=1.4, label="in flight")
    flight.plot(
        series["at_s"], series["limit"], color=SOFT, linewidth=1, linestyle="--", label="limit"
    )
    _title(flight, "requests in flight, and their limit (dashed)")
    for axes in (rows, tokens, flight):
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _at: f"{value:,.6g}"))
    flight.set_xlim(series["at_s"][0], series["at_s"][-1])
    _seconds(flight)
    mean = report["throughput"]
    text = (
        f"On average {mean['rows_per_s'] or 0:,.1f} rows and "
        f"{mean['completion_tokens_per_s'] or 0:,.0f} completion tokens a second; "
        f"at most {max(series['in_flight']):,.0f} requests in flight."
    )
    return _plot("pace", "Throughput and requests in flight over time", text, figure)


def _rates(at_s: list[float], counts: list[float]) -> tuple[list[float], list[float]]:
    """Return how fast a count grew between every few samples: (middles, per second)."""
    every = max(1, len(at_s) // POINTS)
    taken = [*zip(at_s, counts, strict=True)][::every]
    pairs = [(a, b) for a, b in pairwise(taken) if b[0] > a[0]]
    return (
        [(a[0] + b[0]) / 2 for a, b in pairs],
        [(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairs],
    )


# How long.


def _latency(report: dict[str, Any]) -> Plot | None:
    """Draw how long requests took, with the percentiles."""
    latency = report["latency"]
    if not latency["count"]:
        return None
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    axes = figure.subplots()
    left, right, counts = zip(*latency["bins"], strict=True)
    widths = [b - a for a, b in zip(left, right, strict=True)]
    axes.bar(left, counts, width=widths, align="edge", color=ONE, alpha=0.65)
    axes.set_xscale("log")
    top = max(counts) * 1.4
    axes.set_ylim(0, top)
    for step, percent in enumerate((50, 90, 99)):
        at_s = latency[f"p{percent}_s"]
        axes.axvline(at_s, color=TWO, linewidth=1.2)
        axes.annotate(
            f"p{percent}: {short(at_s)}",
            (at_s, top * (0.98 - 0.11 * step)),
            xytext=(4, 0),
            textcoords="offset points",
            color=INK,
            fontsize=8,
            va="top",
        )
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _at: short(value)))
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda _value, _at: ""))
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _at: f"{value:,.0f}"))
    _title(axes, "requests by the time they took (logarithmic)")
    text = (
        f"Half of {latency['count']:,} answers came within {short(latency['p50_s'])}, 90 % within "
        f"{short(latency['p90_s'])}, 99 % within {short(latency['p99_s'])}; the slowest took "
        f"{short(latency['max_s'])}."
    )
    return _plot("latency", "How long answers took", text, figure)


def _title(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=9, color=SOFT)


def _seconds(axes: Axes) -> None:
    left, right = axes.get_xlim()
    fine = right - left < 10
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _at: f"{value:g} s" if fine or not value else span(value))
    )
    axes.xaxis.set_major_locator(MaxNLocator(8))
