"""Histograms in bounded memory, with logarithmic bins."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

BINS_PER_DECADE = 20
"""A bin is 12 % wide, which bounds the error of a percentile."""

PERCENTS = (50, 90, 95, 99)

SMALLEST_S = 0.001
LATENCY_DECADES = 7
"""Latencies from a millisecond to nearly three hours."""


class Histogram:
    """Counts of positive values in bins of equal width on a logarithmic scale.

    Attributes:
        smallest: Lower edge of the first bin; smaller values are counted there.
        count: Number of values.
        sum, largest: Sum and maximum of the values.
    """

    def __init__(self, smallest: float = 1.0, decades: int = 9) -> None:
        self.smallest = smallest
        self._counts = [0] * (BINS_PER_DECADE * decades)
        self.count = 0
        self.sum = 0.0
        self.largest = 0.0

    def add(self, values: Iterable[float]) -> None:
        """Count values; those not above zero are ignored."""
        for value in values:
            if value > 0:
                index = math.log10(value / self.smallest) * BINS_PER_DECADE
                self.add_bins({math.floor(index): 1}, sum_of=value, largest=value)

    def add_bins(self, counts: Mapping[int, int], *, sum_of: float, largest: float) -> None:
        """Add values that are already binned.

        Args:
            counts: Counts by floor(log10(value / smallest) * BINS_PER_DECADE); values beyond
                either end are counted at that end.
            sum_of: Sum of the values.
            largest: Maximum of the values.
        """
        for index, count in counts.items():
            self._counts[min(max(index, 0), len(self._counts) - 1)] += count
            self.count += count
        self.sum += sum_of
        self.largest = max(self.largest, largest)

    def percentile(self, percent: float) -> float | None:
        """Return a percentile; None without any value.

        It is the upper edge of its bin, capped at the largest value: too high by at most the width
        of a bin.
        """
        if not self.count:
            return None
        rank = max(1, math.ceil(self.count * percent / 100))
        seen = 0
        for index, count in enumerate(self._counts):
            seen += count
            if seen >= rank:
                return min(self._edge(index + 1), self.largest)
        return self.largest

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values; `bins` are [from, to, count], empty ends left out."""
        used = [index for index, count in enumerate(self._counts) if count]
        bins = range(used[0], used[-1] + 1) if used else range(0)
        return {
            "count": self.count,
            "mean": round(self.sum / self.count, 4) if self.count else None,
            **{
                f"p{percent}": None if (found := self.percentile(percent)) is None
                else round(found, 4)
                for percent in PERCENTS
            },
            "max": round(self.largest, 4) if self.count else None,
            "bins": [
                [round(self._edge(index), 6), round(self._edge(index + 1), 6), self._counts[index]]
                for index in bins
            ],
        }  # fmt: skip

    def _edge(self, index: int) -> float:
        return self.smallest * math.pow(10.0, index / BINS_PER_DECADE)


class LatencyHistogram(Histogram):
    """A histogram of latencies, in seconds."""

    def __init__(self) -> None:
        super().__init__(SMALLEST_S, LATENCY_DECADES)

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values; seconds have names that end in `_s`."""
        return {
            name if name in ("count", "bins") else f"{name}_s": value
            for name, value in super().as_dict().items()
        }
