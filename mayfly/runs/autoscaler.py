"""The control of a run: what to do about cost and time, decided anew about once a second.

Pure: what is seen comes in, what to do comes out. Two promises hold whatever the endpoint does:
what is bound to be spent stays below the cap (and, should everything stop as slowly as it may,
within one replica-minute of it), and a run that can meet its
deadline has the replicas for it. Work costs the same on few replicas as on many; what costs extra
is each replica's started minute and its draining. So replicas are as few as the deadline allows,
more when it is in danger, and fewer again only when the rows that are left do not fill them.
"""

import math
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from mayfly.billing.meter import DRAIN_S, GRACE_S, STOP_CALL_S, Meter
from mayfly.planning.throughput import PLACES, Throughput
from mayfly.planning.uncertainty import Estimate

LOOK_S = 2.0
"""Until the next decision."""

LOOK_AHEAD_S = 12.0
"""Until the next look at the endpoint: what was asked for may be ready so much before it."""

SLACK = 0.04
"""Part of the time until the deadline that is kept for surprises."""

CAUTION = 0.7
"""How many spreads below the middle a rate is taken that is probable: 3 of 4 are faster."""

LATER_S = 90.0
"""Until another decision about the deadline has an effect on what is asked for."""

PATIENCE_S = 45.0
"""How long after a change of replicas, at least, before the next."""

ROOM = 1.0
"""A replica is let go when what is in flight fits into so much of the others' places."""


class RunState(NamedTuple):
    """What is seen of a run.

    Attributes:
        now_s: Since the run began.
        done: Rows answered by this run on all its endpoints.
        left: Rows without an answer.
        in_flight: Of them, on their way.
        ready: Replicas that answer.
        replica_s: Replica-seconds ready so far, for the pace.
        bound_usd: What is billed in the end if the run is stopped now and stops as expected.
        worst_usd: The same if it stops as slowly as it may.
    """

    now_s: float
    done: int
    left: int
    in_flight: int
    ready: int
    replica_s: float
    bound_usd: float
    worst_usd: float


class Decision(NamedTuple):
    """What to do: go on, have so many replicas, or stop at a limit."""

    action: Literal["go", "scale", "stop_cost", "stop_time"]
    replicas: int = 0
    why: str = ""


GO = Decision("go")


@dataclass(slots=True)
class Autoscaler:
    """The control of the batch on one endpoint.

    Attributes:
        minimum, maximum: Replicas that it may ask for; equal when the number is fixed by hand.
        rows_per_s: Of one replica, as believed before.
        max_cost_usd, deadline_s: The user's limits; the deadline since the run began.
        replica_usd: Price of a replica-minute.
        start_s: How long a further replica takes to be ready.
        drain_s: How long an idle replica takes to drain, as expected.
        wanted: Replicas that were asked for last.
    """

    minimum: int
    maximum: int
    rows_per_s: Estimate
    wanted: int
    max_cost_usd: float | None = None
    deadline_s: float | None = None
    replica_usd: float = 0.0
    start_s: float = 300.0
    places: float = PLACES
    drain_s: float = DRAIN_S / 2
    throughput: Throughput = field(default_factory=Throughput)
    _changed_s: float = field(default=-math.inf, repr=False)

    def estimate(self) -> Estimate:
        """What is believed now of one replica's rows per second."""
        return self.throughput.estimate(self.rows_per_s, self.places)

    @property
    def stop_s(self) -> float:
        """From the decision to stop until nothing bills, as expected: rows end, replicas drain."""
        one_row_s = self.places / self.estimate().mid
        return LOOK_S + min(GRACE_S, 1.5 * one_row_s) + STOP_CALL_S / 4 + self.drain_s

    @property
    def slow_stop_s(self) -> float:
        """The same, if everything takes as long as it may."""
        return LOOK_S + GRACE_S + STOP_CALL_S + max(DRAIN_S, 2 * self.drain_s)

    def bounds_usd(self, meter: Meter, now_s: float, desired: int) -> tuple[float, float]:
        """Return what the endpoint costs in the end if it is stopped now: as expected, at worst.

        Replicas that were asked for and are not ready may be ready the moment after.
        """
        coming = max(0, desired - meter.ready)
        return (
            meter.bound_usd(now_s + self.stop_s, coming=coming, coming_s=self.stop_s),
            meter.bound_usd(
                now_s + self.slow_stop_s, coming=coming, coming_s=self.slow_stop_s + LOOK_AHEAD_S
            ),
        )

    def decide(self, sight: RunState) -> Decision:
        """Return what to do now."""
        self.throughput.look(sight.now_s, sight.done, sight.replica_s)
        if self.max_cost_usd is not None and (
            sight.bound_usd > self.max_cost_usd + 1e-9
            or sight.worst_usd > self.max_cost_usd + self.replica_usd + 1e-9
        ):
            return Decision("stop_cost")
        if self.deadline_s is not None and sight.now_s >= self.deadline_s:
            return Decision("stop_time")
        if self.minimum == self.maximum or not sight.left:
            return GO
        if sight.now_s - self._changed_s < PATIENCE_S:
            return GO
        count, why = self._replicas(sight)
        if count == self.wanted:
            return GO
        self.wanted, self._changed_s = count, sight.now_s
        return Decision("scale", count, why)

    def _replicas(self, sight: RunState) -> tuple[int, str]:
        """Return how many replicas to have, and why."""
        filled = max(self.minimum, math.ceil(sight.left / (self.places * ROOM)))
        if sight.left <= sight.in_flight and filled < min(self.wanted, sight.ready):
            return filled, f"the last {sight.left:,} rows fill no more"
        if self.deadline_s is None:
            return self.wanted, ""
        needed = self.needed(sight)
        if needed > self.wanted:
            return self._affordable(needed, sight), "the deadline is in danger"
        return self.wanted, ""

    def needed(self, sight: RunState) -> int:
        """Return the replicas that the deadline takes.

        Enough for what is probable now; and for the slow end of what is believed, as soon as a
        later decision could no longer bring them in time. So a guess of the catalogue's does not
        fill a data centre, and a slow surprise still finds room to act.
        """
        estimate = self.estimate()
        probable = self._count(sight, estimate.mid * math.exp(-CAUTION * estimate.spread), 0.0)
        slow = estimate.interval.low
        if self._count(sight, slow, LATER_S) >= self.maximum:
            return max(probable, self._count(sight, slow, 0.0))
        return probable

    def _count(self, sight: RunState, rate: float, later_s: float) -> int:
        """Return the replicas by which the rows are done in time if more are asked for later."""
        assert self.deadline_s is not None  # noqa: S101 - the caller's business
        left_s = self.deadline_s - sight.now_s
        one_row_s = self.places / self.estimate().mid
        time_s = left_s * (1 - SLACK) - one_row_s
        missing_s = sight.left / rate - sight.ready * max(0.0, time_s)
        if missing_s <= 0:
            return max(self.minimum, min(self.wanted, sight.ready))
        # Those that were asked for and are not ready yet count as if asked for now.
        per_more_s = time_s - self.start_s - later_s
        if per_more_s <= 0:
            return self.maximum if later_s else self.wanted
        return min(self.maximum, max(sight.ready + math.ceil(missing_s / per_more_s), self.minimum))

    def _affordable(self, count: int, sight: RunState) -> int:
        """Return at most `count` replicas, as many as the cap leaves room for."""
        if self.max_cost_usd is None or self.replica_usd <= 0:
            return count
        minutes = math.ceil((self.slow_stop_s + LOOK_AHEAD_S) / 60)
        room_usd = self.max_cost_usd - sight.worst_usd
        more = math.floor(room_usd / (minutes * self.replica_usd))
        return max(self.wanted, min(count, self.wanted + max(0, more)))
