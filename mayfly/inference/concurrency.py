"""Limit how many requests are in flight.

`Limiter` is the protocol; `Fixed` is the user's number, `AdaptiveLimiter` finds one. Limiters are
pure: time comes in as an argument, so that they are tested on simulated servers.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

FIRST_LIMIT = 64
FLOOR = 1
CEILING = 16_384

Source = Literal["guess", "platform", "history"]
"""Where an expected number comes from."""


class Limiter(Protocol):
    """A limit on requests in flight. Times are seconds on any forward clock."""

    @property
    def limit(self) -> int:
        """How many requests may be in flight now; at least 1."""

    @property
    def settled(self) -> int:
        """The limit that a search has come to; 0 while it has not, or where there is none."""

    def begin_at(self, limit: int, source: Source = "guess", *, ceiling: int = CEILING) -> None:
        """Begin the search where a number is expected, if nothing has been learnt yet.

        Args:
            source: Where the number comes from.
            ceiling: The most that is ever tried.
        """

    def answered(
        self, now_s: float, *, latency_s: float, in_flight: int, work: float = 1.0
    ) -> None:
        """Note an answer.

        Args:
            latency_s: Of the request, from sending to answer, in seconds.
            in_flight: The number in flight when it came, itself included.
            work: What it was worth, such as tokens; only ratios matter.
        """

    def overloaded(self, now_s: float, *, in_flight: int) -> None:
        """Note back-pressure: 429, 503 or a timeout.

        Args:
            in_flight: The number still in flight, this one not included.
        """

    def lifted(self) -> None:
        """Note that load was refused for its rate, and no longer is."""

    def scaled(self, factor: float) -> None:
        """Note that the endpoint has so many times the replicas that it had."""


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
