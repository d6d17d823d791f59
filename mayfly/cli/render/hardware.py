"""Hardware with price and room, as wide as there is place for."""

from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table

from mayfly.cli.render.console import UNWRAPPED
from mayfly.models.offers import Offer, RegionCapacity
from mayfly.planning.hardware import Candidate


class HardwareTable:
    """Draws hardware; with decisions, if there are any.

    Where the regions do not fit on the line, what is free in all of them is summed up: no line is
    ever wrapped. `--json` has it all.
    """

    def __init__(self, candidates: Sequence[Candidate] | Sequence[Offer]) -> None:
        self._candidates = candidates

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the widest table that fits."""
        table = self._draw(short=False)
        unbounded = options.update(width=UNWRAPPED)
        if Measurement.get(console, unbounded, table).maximum > options.max_width:
            table = self._draw(short=True)
        yield table

    def _draw(self, *, short: bool) -> Table:
        table = Table(box=None, padding=(0, 1), pad_edge=True, header_style="bold")
        table.add_column("hardware", no_wrap=True)
        table.add_column("GPUs", justify="right", no_wrap=True)
        table.add_column("$/h", justify="right", no_wrap=True)
        table.add_column("free", no_wrap=True)
        if any(isinstance(candidate, Candidate) for candidate in self._candidates):
            table.add_column("chosen and why", no_wrap=True)
        chosen = next(
            (c for c in self._candidates if isinstance(c, Candidate) and c.eligible), None
        )
        for candidate in self._candidates:
            offer = candidate.offer if isinstance(candidate, Candidate) else candidate
            row = [
                offer.label,
                str(offer.gpu_count),
                f"{offer.price_usd_per_h:.2f}",
                rooms(offer, short=short),
            ]
            style = ""
            if isinstance(candidate, Candidate):
                row.append(("→ " if candidate is chosen else "  ") + candidate.why)
                style = "bold" if candidate is chosen else "" if candidate.eligible else "dim"
            table.add_row(*row, style=style)
        return table


def rooms(offer: Offer, *, short: bool) -> str:
    """Return where there is room for replicas, or in short how much in all regions together."""
    if offer.availability or not offer.regions:
        return offer.availability or "not said"
    if not short:
        return ", ".join(str(region) for region in offer.regions)
    places = f"{len(offer.regions)} regions" if len(offer.regions) > 1 else offer.regions[0].name
    return f"{_sum(offer.regions)} in {places}"


def _sum(regions: Sequence[RegionCapacity]) -> str:
    known = [region.free for region in regions if region.free is not None]
    more = any(region.free is None or region.at_least for region in regions)
    free = sum(known)
    # Nothing where it is known, and not known elsewhere: that is no number.
    return "?" if more and not free else f"{free}{'+' if more else ''}"
