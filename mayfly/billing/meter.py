"""What an endpoint has cost, and what it is bound to cost if it were stopped now.

Assumption, since the API's page does not say how minutes are rounded: every started minute of
every ready replica is billed, each replica's minutes counted from when it became ready until it is
no longer there; a replica that drains bills on. Provisioning, cold start and STOPPED are free.
Source: Together API, dedicated endpoint billing.
"""

from dataclasses import dataclass, field

from mayfly.models.cost import billed_minutes

GRACE_S = 20.0
"""How long requests in flight may take to end after a limit of the user's was reached."""

DRAIN_S = 30.0
"""From the stop of an idle replica until it no longer bills, while no run has seen it."""

STOP_CALL_S = 10.0
"""From the decision to stop until the API has taken the stop, retries included."""


@dataclass(slots=True)
class Meter:
    """Adds up the minutes of each replica from looks at how many are ready.

    Every doubt errs upwards: a replica that appears between two looks counts from the earlier one,
    one that disappears counts to the later one (and `draining_s` longer where it may drain).

    Attributes:
        price_usd_per_h: Of one replica.
        replica_s: Replica-seconds up to the last look.
        doubt_minutes: Minutes by which the sum may be too low because it cannot be seen which
            replica went.
    """

    price_usd_per_h: float
    replica_s: float = 0.0
    doubt_minutes: int = 0
    _last_s: float | None = field(default=None, repr=False)
    _open: list[float] = field(default_factory=list, repr=False)
    """When each ready replica began to bill, oldest first."""
    _closed: list[tuple[float, float]] = field(default_factory=list, repr=False)
    """(from, to) of each replica that is gone, or drains until then."""

    def sample(self, now_s: float, ready_replicas: int, *, draining_s: float = 0.0) -> None:
        """Take note of `ready_replicas` at `now_s` (any clock that only goes forward, seconds)."""
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
        """Return replica-seconds by `now_s` if nothing changed since the last look."""
        if self._last_s is None:
            return 0.0
        return self.replica_s + max(0.0, now_s - self._last_s) * len(self._open)

    @property
    def ready(self) -> int:
        """Replicas at the last look."""
        return len(self._open)

    def spent_usd(self, now_s: float) -> float:
        """Return dollars billed by `now_s` if nothing changed since the last look."""
        return self.minutes(now_s) * self.price_usd_per_h / 60

    def minutes(self, now_s: float) -> int:
        """Return the started minutes by `now_s`, summed over replicas."""
        return sum(billed_minutes(min(end, now_s) - start) for start, end in self._closed) + sum(
            billed_minutes(now_s - start) for start in self._open
        )

    def bound_usd(self, ends_s: float, *, pending: int = 0, pending_s: float = 0.0) -> float:
        """Return the most that is billed if no replica is left at `ends_s`.

        Args:
            coming: Replicas that were asked for and may be ready any moment.
            coming_s: How long each of them may bill by then.
        """
        minutes = self.minutes(ends_s) + self.doubt_minutes + pending * billed_minutes(pending_s)
        return minutes * self.price_usd_per_h / 60

    @property
    def replica_minutes(self) -> int:
        """Started minutes up to the last look, summed over replicas."""
        return 0 if self._last_s is None else self.minutes(self._last_s)


def minimum_usd(price_usd_per_h: float, replicas: int) -> float:
    """Return the least that any use of so many replicas costs: a started minute of each."""
    return replicas * price_usd_per_h / 60
