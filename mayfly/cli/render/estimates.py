"""The table of hardware candidates with the estimates of the job on each."""

from collections.abc import Callable, Sequence

from mayfly.cli.render.fitting_table import Column, FittingTable
from mayfly.cli.render.hardware import capacity_in_short, short_hardware
from mayfly.planning.hardware import Candidate
from mayfly.planning.pricing import dollars
from mayfly.planning.ranking import Quote
from mayfly.planning.uncertainty import Interval

NOTES = {
    "$/Mtok": "per million tokens, in and out",
    "free": "replicas, + or more, ? unknown",
}
"""Explains the column names."""


def quote_table(candidates: Sequence[Candidate], quotes: Sequence[Quote]) -> FittingTable:
    """Return the table of candidates with their quotes; intervals are shown where they fit."""
    offers = [candidate.offer for candidate in candidates]
    found = [quote.forecast for quote in quotes]
    hardware = [offer.label for offer in offers]
    free = [capacity_in_short(offer) for offer in offers]
    counts = [text.partition(" in ")[0] for text in free]
    columns = [
        Column(
            name="hardware",
            cells=hardware,
            narrower={2: [short_hardware(name) for name in hardware]},
        ),
        Column(name="$/h", cells=[f"{o.price_usd_per_h:.2f}" for o in offers], right=True),
    ]
    if any(forecast.replicas > 1 for forecast in found):
        replicas = [str(forecast.replicas) for forecast in found]
        columns.append(Column(name="replicas", cells=replicas, narrower={4: None}, right=True))
    columns += [
        Column(name="free", cells=free, narrower={1: counts, 4: None}),
        _interval_column("tokens/s", [f.tokens_per_s for f in found], figure, left_out_at=3),
        _interval_column("time", [f.seconds for f in found], compact),
        _interval_column("cost", [f.usd for f in found], dollars),
        Column(
            name="$/Mtok",
            cells=[dollars(forecast.usd_per_million)[1:] for forecast in found],
            narrower={5: None},
            right=True,
        ),
        _why_column(candidates, quotes),
    ]
    chosen = [index == 0 and candidate.eligible for index, candidate in enumerate(candidates)]
    return FittingTable(
        columns,
        [
            "bold" if is_chosen else "" if candidate.eligible else "dim"
            for is_chosen, candidate in zip(chosen, candidates, strict=True)
        ],
        notes=NOTES,
    )


def _interval_column(
    name: str,
    intervals: Sequence[Interval],
    unit: Callable[[float], str],
    *,
    left_out_at: int | None = None,
) -> Column:
    """Return a column of estimates, with their intervals where they fit."""
    narrower: dict[int, Sequence[str] | None] = {1: [unit(each.mid) for each in intervals]}
    if left_out_at is not None:
        narrower[left_out_at] = None
    cells = [between(each, unit) for each in intervals]
    return Column(name=name, cells=cells, narrower=narrower, right=True)


def _why_column(candidates: Sequence[Candidate], quotes: Sequence[Quote]) -> Column:
    """Return the column of reasons, at three widths: with the estimate's basis, without, short."""
    arrows = ["→ " if index == 0 and c.eligible else "  " for index, c in enumerate(candidates)]
    brief = [candidate.why.split(",")[0] for candidate in candidates]
    whys = [c.why if c.eligible else b for c, b in zip(candidates, brief, strict=True)]
    bases = [
        f"{why} ({quote.rate.basis})" if c.eligible else why
        for c, why, quote in zip(candidates, whys, quotes, strict=True)
    ]
    full, middle, narrow = (
        [arrow + text for arrow, text in zip(arrows, texts, strict=True)]
        for texts in (bases, whys, brief)
    )
    return Column(name="why", cells=full, narrower={1: middle, 2: narrow, 6: arrows})


def compact(seconds: float) -> str:
    """Format a duration compactly: `42s`, `7m`, `1h05`, `3d`."""
    if seconds < 59.5:
        return f"{seconds:.0f}s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes}m"
    if minutes < 48 * 60:
        return f"{minutes // 60}h{minutes % 60:02d}"
    return f"{minutes / 1440:,.0f}d"


def figure(number: float) -> str:
    """Format a number compactly: `950`, `3.2k`, `45k`."""
    if number < 1000:
        return f"{number:.0f}"
    return f"{number / 1000:.1f}k" if number < 10_000 else f"{number / 1000:,.0f}k"


def between(interval: Interval, unit: Callable[[float], str] = compact) -> str:
    """Format an interval: `7m (2m-21m)`, `$0.50 (0.10-2.10)`."""
    low, high = (unit(end).removeprefix("$") for end in (interval.low, interval.high))
    return f"{unit(interval.mid)} ({low}-{high})"
