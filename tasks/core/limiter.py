"""How many requests may be in flight.

`Limiter` is what the engine asks; a law behind it decides. Laws are pure: time comes in as an
argument, so that they can be tested on a simulated server with a paused clock.
"""

from dataclasses import dataclass, field
from typing import Protocol

FIRST_LIMIT = 64
FLOOR = 1
CEILING = 4096


class Limiter(Protocol):
    """A law for the number of requests in flight. Times are seconds on any forward clock."""

    @property
    def limit(self) -> int:
        """How many requests may be in flight now; at least 1."""

    def answered(self, now_s: float, *, latency_s: float, in_flight: int) -> None:
        """Take note of an answer, with the number in flight when it came, itself included."""

    def overloaded(self, now_s: float) -> None:
        """Take note of back-pressure: 429, 503 or a timeout."""


@dataclass(slots=True)
class Fixed:
    """A number that the user has set."""

    limit: int

    def answered(self, now_s: float, *, latency_s: float, in_flight: int) -> None:
        """Do nothing: the number stands."""

    def overloaded(self, now_s: float) -> None:
        """Do nothing: the number stands; the rows themselves wait."""


@dataclass(slots=True)
class Aimd:
    """Additive increase, multiplicative decrease: up by one a round trip, down by a tenth.

    The limit grows only while it is used in full: otherwise there is no evidence that more would
    be served. It shrinks at most once in a round trip, since what was sent before the shrinking
    says nothing about it.

    Source: D. Chiu and R. Jain, "Analysis of the Increase and Decrease Algorithms for Congestion
    Avoidance in Computer Networks", 1989; the factor 0.9 is Vector's.
    """

    first: int = FIRST_LIMIT
    ceiling: int = CEILING
    _limit: float = field(init=False)
    _latency_s: float = field(default=1.0, init=False)
    _shrunk_at_s: float = field(default=float("-inf"), init=False)

    def __post_init__(self) -> None:
        self._limit = float(self.first)

    @property
    def limit(self) -> int:
        """The whole part of the law's number."""
        return int(self._limit)

    def answered(self, now_s: float, *, latency_s: float, in_flight: int) -> None:
        """Grow by one a round trip while the limit is reached."""
        del now_s
        self._latency_s += 0.1 * (latency_s - self._latency_s)
        if in_flight >= self.limit:
            self._limit = min(float(self.ceiling), self._limit + 1.0 / self._limit)

    def overloaded(self, now_s: float) -> None:
        """Shrink by a tenth, once a round trip."""
        if now_s - self._shrunk_at_s >= self._latency_s:
            self._shrunk_at_s = now_s
            self._limit = max(float(FLOOR), self._limit * 0.9)
