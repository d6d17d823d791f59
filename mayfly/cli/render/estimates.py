"""Each hardware with what the job takes on it, as wide as there is place for."""

from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table

from mayfly.cli.render.console import UNWRAPPED
from mayfly.cli.render.hardware import rooms
from mayfly.planning.hardware import Candidate
from mayfly.planning.pricing import dollars
from mayfly.planning.ranking import Quote
from mayfly.planning.uncertainty import Interval

WIDEST, MIDDLE, NARROW = range(3)


class QuoteTable:
    """Draws candidates with their quotes; intervals where they fit, no line is ever wrapped."""

    def __init__(self, candidates: Sequence[Candidate], quotes: Sequence[Quote]) -> None:
        self._rows = list(zip(candidates, quotes, strict=True))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the widest table that fits; of the narrowest, the last columns are cut."""
        unbounded = options.update(width=UNWRAPPED)
        for width in (WIDEST, MIDDLE, NARROW):
            table = self._draw(width)
            if Measurement.get(console, unbounded, table).maximum <= options.max_width:
                break
        yield table

    def _draw(self, width: int) -> Table:
        table = Table(box=None, padding=(0, 1), pad_edge=True, header_style="bold")
        several = any(quote.forecast.replicas > 1 for _, quote in self._rows)
        table.add_column("hardware", no_wrap=True)
        for name in ("$/h", *(("replicas",) if several else ())):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("free", no_wrap=True)
        for name in ("tokens/s", "time", "cost", "$/Mtok"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("why", no_wrap=True)
        for index, (candidate, quote) in enumerate(self._rows):
            chosen = index == 0 and candidate.eligible
            found, offer = quote.forecast, candidate.offer
            ends = width == WIDEST
            table.add_row(
                offer.label if width < NARROW else offer.label.replace("nvidia-", ""),
                f"{offer.price_usd_per_h:.2f}",
                *((str(found.replicas),) if several else ()),
                rooms(offer, short=True).split(" in ")[0] if width else rooms(offer, short=True),
                _figure(found.tokens_per_s, ends=ends),
                _time(found.seconds, ends=ends),
                _cost(found.usd, ends=ends),
                dollars(found.usd_per_million)[1:],
                ("→ " if chosen else "  ") + _why(candidate, quote, width),
                style="bold" if chosen else "" if candidate.eligible else "dim",
            )
        return table


def compact(seconds: float) -> str:
    """Write a span in as few characters as can be read: `42s`, `7m`, `1h05`, `3d`."""
    if seconds < 60:
        return f"{seconds:.0f}s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes}m"
    if minutes < 48 * 60:
        return f"{minutes // 60}h{minutes % 60:02d}"
    return f"{minutes / 1440:,.0f}d"


def between(interval: Interval) -> str:
    """Write an interval of seconds: `7m (2m-21m)`."""
    return _time(interval, ends=True)


def _time(seconds: Interval, *, ends: bool) -> str:
    ranged = f" ({compact(seconds.low)}-{compact(seconds.high)})" if ends else ""
    return compact(seconds.mid) + ranged


def _cost(usd: Interval, *, ends: bool) -> str:
    ranged = f" ({dollars(usd.low)[1:]}-{dollars(usd.high)[1:]})" if ends else ""
    return dollars(usd.mid) + ranged


def _figure(per_s: Interval, *, ends: bool) -> str:
    ranged = f" ({_short(per_s.low)}-{_short(per_s.high)})" if ends else ""
    return _short(per_s.mid) + ranged


def _short(number: float) -> str:
    if number < 1000:
        return f"{number:.0f}"
    return f"{number / 1000:.1f}k" if number < 10_000 else f"{number / 1000:,.0f}k"


def _why(candidate: Candidate, quote: Quote, width: int) -> str:
    if not candidate.eligible or width == NARROW:
        return candidate.why.split(",")[0]
    return f"{candidate.why} ({quote.rate.basis})" if width == WIDEST else candidate.why
