"""Limit how many requests are in flight.

`Limiter` is the protocol; `Fixed` is the user's number, `AdaptiveLimiter` finds one. Limiters are
pure: time is an argument, so that they can be tested on simulated servers.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

FIRST_LIMIT = 64
FLOOR = 1
CEILING = 16_384

Source = Literal["guess", "platform", "history"]
"""Where an expected number comes from."""


class Limiter(Protocol):
    """A limit on requests in flight. Times are seconds on any monotonic clock."""

    @property
    def limit(self) -> int:
        """How many requests may be in flight now; at least 1."""

    @property
    def settled(self) -> int:
        """The limit that the search has settled at; 0 before that, or without a search."""

    def begin_at(self, limit: int, source: Source = "guess", *, ceiling: int = CEILING) -> None:
        """Start the search at an expected number, if nothing was measured yet.

        Args:
            source: Where the number comes from.
            ceiling: Upper bound of the limit.
        """

    def answered(
        self, now_s: float, *, latency_s: float, in_flight: int, work: float = 1.0
    ) -> None:
        """Record an answer.

        Args:
            latency_s: Of the request, from sending to answer, in seconds.
            in_flight: Requests in flight when it arrived, including its own.
            work: Its amount of work, such as tokens; only ratios matter.
        """

    def overloaded(self, now_s: float, *, in_flight: int) -> None:
        """Record back-pressure: 429, 503 or a timeout.

        Args:
            in_flight: Requests still in flight, without this one.
        """

    def lifted(self) -> None:
        """Record that load was refused for its rate, and no longer is."""

    def scaled(self, factor: float) -> None:
        """Record that the number of replicas was multiplied by `factor`."""


@dataclass(slots=True)
class Fixed:
    """A number that the user has set."""

    limit: int
    settled: int = 0

    def begin_at(self, limit: int, source: Source = "guess", *, ceiling: int = CEILING) -> None:
        """Do nothing: the number is fixed."""

    def answered(
        self, now_s: float, *, latency_s: float, in_flight: int, work: float = 1.0
    ) -> None:
        """Do nothing: the number is fixed."""

    def overloaded(self, now_s: float, *, in_flight: int) -> None:
        """Do nothing: the number is fixed; the rows themselves wait."""

    def lifted(self) -> None:
        """Do nothing: the number is fixed."""

    def scaled(self, factor: float) -> None:
        """Do nothing: the number is fixed."""
