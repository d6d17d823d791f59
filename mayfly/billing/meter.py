"""What an endpoint has cost, and the most that it will have cost if it is stopped now.

Assumption, since the API's page does not say how minutes are rounded: every started minute of
every ready replica is billed, from when the replica became ready until it is removed; a draining
replica is still billed. Provisioning, cold start and STOPPED are free.
Source: Together API, dedicated endpoint billing.
"""

from dataclasses import dataclass, field

from mayfly.models.cost import billed_minutes

GRACE_S = 20.0
"""How long requests in flight may take to finish after one of the user's limits was reached."""

DRAIN_S = 30.0
"""From the stop of an idle replica until it no longer bills; used until a run has measured it."""

STOP_CALL_S = 10.0
"""From the decision to stop until the API has accepted the stop, retries included."""


@dataclass(slots=True)
class Meter:
    """Adds up the minutes of each replica from samples of how many are ready.

    In doubt the sum is an upper bound: a replica that appears between two samples counts from the
    earlier one, one that disappears counts to the later one (`draining_s` longer if it may drain).

    Attributes:
        price_usd_per_h: Of one replica.
        replica_s: Replica-seconds up to the last sample.
        doubt_minutes: Minutes by which the sum may be too low, because a sample does not show
            which replica was removed.
    """

    price_usd_per_h: float
    replica_s: float = 0.0
    doubt_minutes: int = 0
    _last_s: float | None = field(default=None, repr=False)
    _open: list[float] = field(default_factory=list, repr=False)
    """When each ready replica began to bill, oldest first."""
    _closed: list[tuple[float, float]] = field(default_factory=list, repr=False)
    """(from, to) of each replica that was removed, or that drains until then."""

    def sample(self, now_s: float, ready_replicas: int, *, draining_s: float = 0.0) -> None:
        """Record `ready_replicas` at `now_s` (seconds on any monotonic clock)."""
        since_s = now_s if self._last_s is None else min(self._last_s, now_s)
        if self._last_s is not None:
            self.replica_s += (now_s - since_s) * max(len(self._open), ready_replicas)
        self._last_s = now_s
        for _ in range(ready_replicas - len(self._open)):
            self._open.append(since_s)
        going = max(0, len(self._open) - ready_replicas)
        if going and ready_replicas and len({start % 60 for start in self._open}) > 1:
            self.doubt_minutes += going
        for start in self._open[:going]:
            self._closed.append((start, now_s + draining_s))
        del self._open[:going]

    def replica_s_at(self, now_s: float) -> float:
        """Return replica-seconds by `now_s`, assuming no change since the last sample."""
        if self._last_s is None:
            return 0.0
        return self.replica_s + max(0.0, now_s - self._last_s) * len(self._open)

    @property
    def ready(self) -> int:
        """Ready replicas at the last sample."""
        return len(self._open)

    def spent_usd(self, now_s: float) -> float:
        """Return dollars billed by `now_s`, assuming no change since the last sample."""
        return self.minutes(now_s) * self.price_usd_per_h / 60

    def minutes(self, now_s: float) -> int:
        """Return the started minutes by `now_s`, summed over replicas."""
        return sum(billed_minutes(min(end, now_s) - start) for start, end in self._closed) + sum(
            billed_minutes(now_s - start) for start in self._open
        )

    def bound_usd(self, ends_s: float, *, pending: int = 0, pending_s: float = 0.0) -> float:
        """Return an upper bound of the bill, in dollars, if no replica is left at `ends_s`.

        Args:
            pending: Replicas that were requested and may become ready at any time.
            pending_s: How long each of them may be billed by then, in seconds.
        """
        minutes = self.minutes(ends_s) + self.doubt_minutes + pending * billed_minutes(pending_s)
        return minutes * self.price_usd_per_h / 60

    @property
    def replica_minutes(self) -> int:
        """Started minutes up to the last sample, summed over replicas."""
        return 0 if self._last_s is None else self.minutes(self._last_s)


def minimum_usd(price_usd_per_h: float, replicas: int) -> float:
    """Return the minimum cost of using `replicas` replicas: one started minute of each."""
    return replicas * price_usd_per_h / 60
