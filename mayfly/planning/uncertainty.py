"""Estimates of positive numbers: a most likely value and its uncertainty.

Rates, lengths and counts are positive, and their errors are factors, so an estimate is
log-normal: `spread` is the standard deviation of the logarithm. An interval covers 90 %.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

NINE_IN_TEN = 1.645
"""Standard deviations on either side of the middle that hold 90 % of a normal distribution."""


class Interval(NamedTuple):
    """Low, most likely and high value; 90 % of true values lie between the two ends."""

    low: float
    mid: float
    high: float

    def holds(self, value: float) -> bool:
        """Return whether a value lies inside."""
        return self.low <= value <= self.high

    def plus(self, other: "Interval") -> "Interval":
        """Return the sum. The ends are added, which makes it wider rather than narrower."""
        return Interval(self.low + other.low, self.mid + other.mid, self.high + other.high)

    def times(self, factor: float) -> "Interval":
        """Return the interval multiplied by a number above 0."""
        return Interval(self.low * factor, self.mid * factor, self.high * factor)

    def as_dict(self) -> dict[str, float]:
        """Return plain JSON values."""
        return {name: round(value, 6) for name, value in self._asdict().items()}


@dataclass(frozen=True, slots=True)
class Estimate:
    """An estimate of a positive number.

    Attributes:
        mid: The most likely value, above 0.
        spread: Standard deviation of its logarithm; 0.1 is about 10 %.
    """

    mid: float
    spread: float

    @property
    def interval(self) -> Interval:
        """The interval that holds 90 % of true values."""
        factor = math.exp(NINE_IN_TEN * self.spread)
        return Interval(self.mid / factor, self.mid, self.mid * factor)

    def scaled(self, factor: float) -> "Estimate":
        """Return the estimate multiplied by an exact number."""
        return Estimate(self.mid * factor, self.spread)

    def times(self, other: "Estimate") -> "Estimate":
        """Return the estimate of the product of two independent numbers."""
        return Estimate(self.mid * other.mid, math.hypot(self.spread, other.spread))

    def over(self, other: "Estimate") -> "Estimate":
        """Return the estimate of the quotient of two independent numbers."""
        return Estimate(self.mid / other.mid, math.hypot(self.spread, other.spread))

    def plus(self, other: "Estimate") -> "Estimate":
        """Return the estimate of the sum of two independent numbers (first order)."""
        mid = self.mid + other.mid
        if not mid:  # No work is left, and that is exact.
            return Estimate(0.0, 0.0)
        return Estimate(mid, math.hypot(self.mid * self.spread, other.mid * other.spread) / mid)

    def wider(self, spread: float) -> "Estimate":
        """Return the estimate with a further independent uncertainty."""
        return Estimate(self.mid, math.hypot(self.spread, spread))


def combined_estimate(estimates: Iterable[Estimate]) -> Estimate:
    """Combine independent estimates of one number, weighted by 1 / spread².

    The result is at least as wide as the estimates disagree: contradictory estimates do not make
    it more certain.

    Raises:
        ValueError: There are no estimates.
    """
    found = list(estimates)
    weights = [1 / max(estimate.spread, 1e-6) ** 2 for estimate in found]
    total = sum(weights)
    if not total:
        raise ValueError("no estimates to combine")
    mean = sum(w * math.log(b.mid) for w, b in zip(weights, found, strict=True)) / total
    between = (
        sum(w * (math.log(b.mid) - mean) ** 2 for w, b in zip(weights, found, strict=True)) / total
    )
    return Estimate(math.exp(mean), math.sqrt(1 / total + between * (len(found) > 1)))
