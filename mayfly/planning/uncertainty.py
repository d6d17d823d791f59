"""How sure we are of a positive number: a most likely value, and how far it may be off.

Rates, lengths and counts are positive and err by factors, not by amounts, so a belief is
log-normal: `spread` is the standard deviation of the logarithm. An interval holds 9 of 10 cases.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

NINE_IN_TEN = 1.645
"""Standard deviations on either side of the middle that hold 90 % of a normal distribution."""


class Interval(NamedTuple):
    """Nearest, most likely and farthest value; 9 of 10 true values lie between the two ends."""

    low: float
    mid: float
    high: float

    def holds(self, value: float) -> bool:
        """Whether a true value lies inside."""
        return self.low <= value <= self.high

    def plus(self, other: "Interval") -> "Interval":
        """Return the sum; ends add up, which errs on the wide side."""
        return Interval(self.low + other.low, self.mid + other.mid, self.high + other.high)

    def times(self, factor: float) -> "Interval":
        """Return the interval times a number above 0."""
        return Interval(self.low * factor, self.mid * factor, self.high * factor)

    def as_dict(self) -> dict[str, float]:
        """Return plain JSON values."""
        return {name: round(value, 6) for name, value in self._asdict().items()}


@dataclass(frozen=True, slots=True)
class Estimate:
    """A positive number that is not known exactly.

    Attributes:
        mid: The most likely value, above 0.
        spread: Standard deviation of its logarithm; 0.1 is about 10 %.
    """

    mid: float
    spread: float

    @property
    def interval(self) -> Interval:
        """Where 9 of 10 true values lie."""
        factor = math.exp(NINE_IN_TEN * self.spread)
        return Interval(self.mid / factor, self.mid, self.mid * factor)

    def scaled(self, factor: float) -> "Estimate":
        """Return the belief about this number times one that is known exactly."""
        return Estimate(self.mid * factor, self.spread)

    def times(self, other: "Estimate") -> "Estimate":
        """Return the belief about the product of two independent numbers."""
        return Estimate(self.mid * other.mid, math.hypot(self.spread, other.spread))

    def over(self, other: "Estimate") -> "Estimate":
        """Return the belief about the quotient of two independent numbers."""
        return Estimate(self.mid / other.mid, math.hypot(self.spread, other.spread))

    def plus(self, other: "Estimate") -> "Estimate":
        """Return the belief about the sum of two independent numbers (of the first order)."""
        mid = self.mid + other.mid
        if not mid:  # Nothing is left to do: that is certain.
            return Estimate(0.0, 0.0)
        return Estimate(mid, math.hypot(self.mid * self.spread, other.mid * other.spread) / mid)

    def wider(self, spread: float) -> "Estimate":
        """Return the belief with another independent doubt added."""
        return Estimate(self.mid, math.hypot(self.spread, spread))


def weighed(beliefs: Iterable[Estimate]) -> Estimate:
    """Return what independent beliefs about one number amount to together, the surer counting more.

    The weights are 1 / spread². Beliefs that contradict each other do not make one surer: the
    result is at least as wide as their disagreement (ValueError when there are none).
    """
    found = list(beliefs)
    weights = [1 / max(estimate.spread, 1e-6) ** 2 for estimate in found]
    total = sum(weights)
    if not total:
        raise ValueError("nothing to weigh")
    mean = sum(w * math.log(b.mid) for w, b in zip(weights, found, strict=True)) / total
    between = (
        sum(w * (math.log(b.mid) - mean) ** 2 for w, b in zip(weights, found, strict=True)) / total
    )
    return Estimate(math.exp(mean), math.sqrt(1 / total + between * (len(found) > 1)))
