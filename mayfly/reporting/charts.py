"""The report's charts, each drawn twice: for a wide page or paper, and for a phone."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from mayfly.models.durations import short, span
from mayfly.reporting.progress import STEP_LABELS
from mayfly.reporting.svg import (
    CHARACTER_PX,
    Drawing,
    fits,
    linear,
    logarithmic,
    ticks,
    ticks_log,
    ticks_s,
)

WIDE_PX, NARROW_PX, SMALL_PX = 760, 340, 280
PANEL_PX, HISTOGRAM_PX = 94, 132
_POINT_PX = 8
"""Pixels between the points of a curve; with more points, noise hides the shape."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One chart of the page.

    Attributes:
        text: Caption.
        svg: The drawings; the stylesheet shows the one that fits.
    """

    name: str
    title: str
    text: str
    svg: str


def charts(report: dict[str, Any]) -> dict[str, Chart]:
    """Draw the charts that have data; return them by name."""
    drawn = (timeline(report), throughput(report), latency(report), *distributions(report))
    return {chart.name: chart for chart in drawn if chart is not None}


def _twice(name: str, title: str, text: str, draw: Callable[[float], Drawing]) -> Chart:
    svg = "".join(
        draw(width).render(title=title, description=text, style=style)
        for width, style in ((WIDE_PX, "wide"), (NARROW_PX, "narrow"))
    )
    return Chart(name=name, title=title, text=text, svg=svg)


# Timeline.


def timeline(report: dict[str, Any]) -> Chart | None:
    """Draw the run's steps, and below them each endpoint's phases: starting, billed, stopping."""
    start = report["started_at"]
    end_s = max(report["ended_at"] - start, 0.1)
    lanes = [("run", _steps(report))]
    lanes += [
        (endpoint["hardware"] or "endpoint", _life(endpoint, start, end_s))
        for endpoint in report["endpoints"]
    ]
    billed_s = sum(
        bar[1] - bar[0] for _, bars in lanes[1:] for bar in bars if bar[2].startswith("billed")
    )
    text = f"The run took {span(end_s)}. " + (
        f"The endpoint was billed for {span(billed_s)} of it; starting and stopping are free."
        if report["endpoints"]
        else "No endpoint was created."
    )

    def draw(width: float) -> Drawing:
        drawing = Drawing(width, 42 * len(lanes) + 22)
        x = linear(0, end_s, 0, width)
        for index, (name, bars) in enumerate(lanes):
            top = 42 * index
            drawing.text(0, top + 11, name)
            for from_s, to_s, words, style in bars:
                left, right = x(max(from_s, 0)), x(min(to_s, end_s))
                title = f"{words}: {span(to_s - from_s)}"
                drawing.rect(left, top + 17, right - left, 18, style, title=title)
                if fits(words, right - left - 8):
                    drawing.text((left + right) / 2, top + 30, words, style="ink", anchor="middle")
        _time_axis(drawing, x, 0, end_s, 42 * len(lanes))
        return drawing

    return _twice("timeline", "Endpoint timeline", text, draw)


def _steps(report: dict[str, Any]) -> list[tuple[float, float, str, str]]:
    styles = {"inferring": "bar one", "waiting": "bar line"}
    return [
        (
            step["from_s"],
            step["to_s"],
            STEP_LABELS.get(step["phase"], step["phase"]),
            styles.get(step["phase"], "bar soft"),
        )
        for step in report["phases"]
        if step["phase"] != "done"
    ]


def _life(
    endpoint: dict[str, Any], start: float, end_s: float
) -> list[tuple[float, float, str, str]]:
    """Return the phases of an endpoint: from, to (seconds since the start), label, class."""
    proof = endpoint["teardown"] or {}
    created_s = endpoint["created_at"] - start
    gone_s = (proof.get("gone_at") or proof.get("stopped_at") or start + end_s) - start
    if endpoint["ready_at"] is None:
        what = "never READY" if proof.get("existed", True) else "never created"
        return [(created_s, gone_s, f"{what}, not billed", "bar line")]
    ready_s = endpoint["ready_at"] - start
    stopped_s = (proof.get("stopped_at") or start + end_s) - start
    return [
        (created_s, ready_s, "cold start, not billed", "bar line"),
        (ready_s, stopped_s, f"billed ${endpoint['usd']:.2f}", "bar two"),
        (stopped_s, max(gone_s, stopped_s), "stopped", "bar line"),
    ]


# Throughput.


def throughput(report: dict[str, Any]) -> Chart | None:
    """Draw rows per second, tokens per second, and requests in flight with their limit."""
    series, mean = report["series"], report["throughput"]
    if len(series["at_s"]) < 3:
        return None
    tokens = "completion_tokens" if any(series["completion_tokens"]) else "prompt_tokens"
    word = tokens.replace("_", " ")
    text = (
        f"Mean {mean['rows_per_s'] or 0:,.1f} rows/s and {mean[f'{tokens}_per_s'] or 0:,.0f} "
        f"{word}/s; at most {max(series['in_flight']):,.0f} requests in flight, limit "
        f"{series['limit'][-1]:,.0f} at the end."
    )

    def draw(width: float) -> Drawing:
        drawing = Drawing(width, 3 * PANEL_PX + 22)
        at_s = series["at_s"]
        x = linear(at_s[0], at_s[-1], 44, width - 4)
        for index, (name, label, style) in enumerate(
            (("rows", "rows/s", "one"), (tokens, f"{word}/s", "two"))
        ):
            points = _rates(at_s, series[name], every=(at_s[-1] - at_s[0]) / (width / _POINT_PX))
            y = _panel(
                drawing, PANEL_PX * index, max((rate for _, rate in points), default=0), label
            )
            curve = [(x(at), y(rate)) for at, rate in points]
            drawing.area(curve, y(0), f"fill {style}")
            drawing.curve(curve, f"curve {style}")
        highest = max(*series["in_flight"], *series["limit"])
        y = _panel(drawing, 2 * PANEL_PX, highest, "requests in flight, limit dashed")
        thin = max(1, len(at_s) // int(width / 2))
        for name, style in (("limit", "curve soft dashed"), ("in_flight", "curve three")):
            points = [*zip(at_s, series[name], strict=True)]
            drawing.curve([(x(at), y(value)) for at, value in [*points[::thin], points[-1]]], style)
        _time_axis(drawing, x, at_s[0], at_s[-1], 3 * PANEL_PX)
        return drawing

    return _twice("throughput", "Throughput and requests in flight", text, draw)


def _panel(drawing: Drawing, top: float, highest: float, label: str) -> Callable[[float], float]:
    """Draw a panel's grid and label; return its vertical scale."""
    y = linear(0, highest * 1.05 or 1.0, top + PANEL_PX - 8, top + 18)
    drawing.text(0, top + 11, label)
    for value in ticks(highest or 1.0, 4):
        drawing.line(44, y(value), drawing.width, y(value), "grid")
        drawing.text(40, y(value) + 4, compact(value), anchor="end")
    return y


def _time_axis(
    drawing: Drawing, x: Callable[[float], float], low_s: float, high_s: float, top: float
) -> None:
    left, right = x(low_s), x(high_s)
    drawing.line(left, top, right, top, "grid")
    room = 0.0
    for at_s in ticks_s(low_s, high_s, max(4, int((right - left) / 80))):
        words = clock(at_s)
        half = len(words) * CHARACTER_PX / 2
        at = min(max(x(at_s), left + half), right - half)
        if at - half < room:
            continue
        room = at + half + 8
        drawing.line(x(at_s), top, x(at_s), top + 4, "grid")
        drawing.text(at, top + 16, words, anchor="middle")


def _rates(at_s: list[float], counts: list[float], *, every: float) -> list[tuple[float, float]]:
    """Return (middle, growth per second) of a count over steps of at least `every` seconds."""
    kept = [(at_s[0], counts[0])]
    for sample in zip(at_s, counts, strict=True):
        if sample[0] - kept[-1][0] >= every:
            kept.append(sample)
    return [
        ((a[0] + b[0]) / 2, (b[1] - a[1]) / (b[0] - a[0])) for a, b in pairwise(kept) if b[0] > a[0]
    ]


# Distributions.


def latency(report: dict[str, Any]) -> Chart | None:
    """Draw the latency distribution with its percentiles."""
    found = report["latency"]
    if not found["count"]:
        return None
    text = (
        f"Of {found['count']:,} requests: p50 latency {short(found['p50_s'])}, "
        f"p90 {short(found['p90_s'])}, p99 {short(found['p99_s'])}, "
        f"maximum {short(found['max_s'])}."
    )
    marks = [(f"p{percent} {short(value)}", value)
             for percent in (50, 90, 99) if (value := found[f"p{percent}_s"])]  # fmt: skip
    return _twice(
        "latency",
        "Request latency",
        text,
        lambda width: _histogram(found["bins"], marks, width, short, "requests"),
    )


def distributions(report: dict[str, Any]) -> list[Chart]:
    """Draw tokens and cost per row, as small charts beside each other."""
    found = []
    for name, title, unit in (
        ("prompt_tokens", "Prompt tokens per row", whole),
        ("completion_tokens", "Completion tokens per row", whole),
        ("usd", "Cost per row", money),
    ):
        spread = (report.get("per_row") or {}).get(name)
        if not spread or not spread["count"]:
            continue
        p50, p90, p99 = (unit(spread[key]) for key in ("p50", "p90", "p99"))
        text = f"p50 {p50}, p90 {p90}, p99 {p99}, maximum {unit(spread['max'])}."
        marks = [(f"p50 {p50}", spread["p50"]), (f"p99 {p99}", spread["p99"])]
        drawing = _histogram(spread["bins"], marks, SMALL_PX, unit, "rows")
        svg = drawing.render(title=title, description=text)
        found.append(Chart(name=f"per_row_{name}", title=title, text=text, svg=svg))
    return found


def _histogram(
    bins: list[list[float]],
    marks: list[tuple[str, float]],
    width: float,
    unit: Callable[[float], str],
    what: str,
) -> Drawing:
    """Draw bars over a logarithmic axis; `bins` are from, to, count, and `marks` vertical lines."""
    drawing = Drawing(width, HISTOGRAM_PX)
    low, high = bins[0][0], bins[-1][1]
    x = logarithmic(low, high, 44, width - 4)
    most = max(count for _, _, count in bins)
    y = linear(0, most * 1.02, HISTOGRAM_PX - 24, 6 + 15 * len(marks))
    for value in ticks(most, 4):
        if value == int(value):
            drawing.line(44, y(value), width, y(value), "grid")
            drawing.text(40, y(value) + 4, compact(value), anchor="end")
    for left, right, count in bins:
        title = f"{unit(left)} to {unit(right)}: {count:,} {what}"
        wide = x(right) - x(left)
        drawing.rect(x(left), y(count), wide - 0.5, y(0) - y(count), "bar one", title=title)
    for index, (words, value) in enumerate(marks):
        at, line = x(min(max(value, low), high)), 12 + 15 * index
        drawing.line(at, line - 10, at, y(0), "mark")
        is_left = at + 5 + len(words) * CHARACTER_PX < width
        drawing.text(at + (5 if is_left else -5), line, words, style="ink halo",
                     anchor="start" if is_left else "end")  # fmt: skip
    room = 0.0
    found = ticks_log(low, high, max(2, int(width / 60)))
    for value in found if len(found) > 1 else [low, high]:
        words = unit(value)
        half = len(words) * CHARACTER_PX / 2
        at = min(max(x(value), half), width - half)
        if at - half >= room:
            room = at + half + 6
            drawing.text(at, HISTOGRAM_PX - 7, words, anchor="middle")
    return drawing


# Compact number formats.


def compact(value: float) -> str:
    """Format a number in about five characters: `950`, `12.5k`, `3M`."""
    for size, character in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            return f"{value / (1e3 if character == 'k' else size):.3g}{character}"
    return f"{value:,.3g}" if value < 100 else f"{value:,.0f}"


def whole(value: float) -> str:
    """Format a count of which only the upper edge of its bin is known."""
    return compact(math.floor(value))


def money(usd: float) -> str:
    """Format dollars to two significant figures, without an exponent: `$0.00012`."""
    if usd >= 1 or usd <= 0:
        return f"${usd:,.2f}"
    text = f"{usd:.2g}"
    if "e" in text:
        figures, _, exponent = text.partition("e")
        text = f"{float(text):.{len(figures.replace('.', '')) - 1 - int(exponent)}f}"
    return f"${text}"


def clock(seconds: float) -> str:
    """Format a time on an axis: `45 s`, `12 min`, `1 h 30`; `0` at the start."""
    if seconds < 60:
        return f"{seconds:g} s" if seconds else "0"
    minutes, rest_s = divmod(round(seconds), 60)
    if rest_s:
        return f"{minutes}:{rest_s:02d} min"
    hours, minutes = divmod(minutes, 60)
    return (f"{hours} h {minutes:02d}" if minutes else f"{hours} h") if hours else f"{minutes} min"
