"""How long answers took, in bounded memory: bins whose widths grow with the time."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

SMALLEST_S = 0.001
BINS_PER_DECADE = 20
DECADES = 7
"""From a millisecond to nearly three hours; a bin is 12 % wide, and so is a percentile's error."""

_BINS = BINS_PER_DECADE * DECADES


class LatencyHistogram:
    """Counts of latencies in bins of equal width on a logarithmic scale."""

    def __init__(self) -> None:
        self._counts = [0] * _BINS
        self.count = 0
        self.sum_s = 0.0
        self.largest_s = 0.0

    def add(self, latencies_s: Iterable[float]) -> None:
        """Count latencies, in seconds; what is not above zero is no latency and passed over."""
        for latency_s in latencies_s:
            if latency_s > 0:
                index = math.log10(latency_s / SMALLEST_S) * BINS_PER_DECADE
                self.add_bins({math.floor(index): 1}, sum_s=latency_s, largest_s=latency_s)

    def add_bins(self, counts: Mapping[int, int], *, sum_s: float, largest_s: float) -> None:
        """Add latencies that somebody else has sorted into bins, by floor(log10(s / SMALLEST_S)
        * BINS_PER_DECADE); what lies beyond either end counts at that end."""
        for index, count in counts.items():
            self._counts[min(max(index, 0), _BINS - 1)] += count
            self.count += count
        self.sum_s += sum_s
        self.largest_s = max(self.largest_s, largest_s)

    def percentile(self, percent: float) -> float | None:
        """Return the latency that so many percent do not exceed, in seconds; None without any.

        The upper edge of the bin it falls in, and no more than the largest seen: it errs upwards,
        by a bin's width at most.
        """
        if not self.count:
            return None
        rank = max(1, math.ceil(self.count * percent / 100))
        seen = 0
        for index, count in enumerate(self._counts):
            seen += count
            if seen >= rank:
                return min(_edge_s(index + 1), self.largest_s)
        return self.largest_s

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values; `bins` are [from_s, to_s, count], empty ends left out."""
        used = [index for index, count in enumerate(self._counts) if count]
        span = range(used[0], used[-1] + 1) if used else range(0)
        return {
            "count": self.count,
            "mean_s": round(self.sum_s / self.count, 4) if self.count else None,
            **{
                f"p{percent}_s": None if (found := self.percentile(percent)) is None
                else round(found, 4)
                for percent in (50, 90, 95, 99)
            },
            "max_s": round(self.largest_s, 4) if self.count else None,
            "bins": [
                [round(_edge_s(index), 6), round(_edge_s(index + 1), 6), self._counts[index]]
                for index in span
            ],
        }  # fmt: skip


def _edge_s(index: int) -> float:
    return SMALLEST_S * math.pow(10.0, index / BINS_PER_DECADE)
