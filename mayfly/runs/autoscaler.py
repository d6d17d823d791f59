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
from mayfly.planning.throughput import DEFAULT_SLOTS, Throughput
from mayfly.planning.uncertainty import Estimate

DECIDE_EVERY_S = 2.0
"""Until the next decision."""

OBSERVE_DELAY_S = 12.0
"""Until the next look at the endpoint: what was asked for may be ready so much before it."""

SLACK = 0.04
"""Part of the time until the deadline that is kept for surprises."""

CAUTION = 0.7
"""How many spreads below the middle a rate is taken that is probable: 3 of 4 are faster."""

REACTION_S = 90.0
"""Until another decision about the deadline has an effect on what is asked for."""

MIN_CHANGE_INTERVAL_S = 45.0
"""How long after a change of replicas, at least, before the next."""

FILL_FACTOR = 1.0
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
    slots: float = DEFAULT_SLOTS
    drain_s: float = DRAIN_S / 2
    throughput: Throughput = field(default_factory=Throughput)
    _changed_s: float = field(default=-math.inf, repr=False)

    def estimate(self) -> Estimate:
        """What is believed now of one replica's rows per second."""
        return self.throughput.estimate(self.rows_per_s, self.slots)

    @property
    def stop_s(self) -> float:
        """From the decision to stop until nothing bills, as expected: rows end, replicas drain."""
        one_row_s = self.slots / self.estimate().mid
        return DECIDE_EVERY_S + min(GRACE_S, 1.5 * one_row_s) + STOP_CALL_S / 4 + self.drain_s

    @property
    def slow_stop_s(self) -> float:
        """The same, if everything takes as long as it may."""
        return DECIDE_EVERY_S + GRACE_S + STOP_CALL_S + max(DRAIN_S, 2 * self.drain_s)

    def bounds_usd(self, meter: Meter, now_s: float, desired: int) -> tuple[float, float]:
        """Return what the endpoint costs in the end if it is stopped now: as expected, at worst.

        Replicas that were asked for and are not ready may be ready the moment after.
        """
        pending = max(0, desired - meter.ready)
        return (
            meter.bound_usd(now_s + self.stop_s, pending=pending, pending_s=self.stop_s),
            meter.bound_usd(
                now_s + self.slow_stop_s,
                pending=pending,
                pending_s=self.slow_stop_s + OBSERVE_DELAY_S,
            ),
        )

    def decide(self, state: RunState) -> Decision:
        """Return what to do now."""
        self.throughput.sample(state.now_s, state.done, state.replica_s)
        if self.max_cost_usd is not None and (
            state.bound_usd > self.max_cost_usd + 1e-9
            or state.worst_usd > self.max_cost_usd + self.replica_usd + 1e-9
        ):
            return Decision("stop_cost")
        if self.deadline_s is not None and state.now_s >= self.deadline_s:
            return Decision("stop_time")
        if self.minimum == self.maximum or not state.left:
            return GO
        if state.now_s - self._changed_s < MIN_CHANGE_INTERVAL_S:
            return GO
        count, why = self._replicas(state)
        if count == self.wanted:
            return GO
        self.wanted, self._changed_s = count, state.now_s
        return Decision("scale", count, why)

    def _replicas(self, state: RunState) -> tuple[int, str]:
        """Return how many replicas to have, and why."""
        filled = max(self.minimum, math.ceil(state.left / (self.slots * FILL_FACTOR)))
        if state.left <= state.in_flight and filled < min(self.wanted, state.ready):
            return filled, f"the last {state.left:,} rows fill no more"
        if self.deadline_s is None:
            return self.wanted, ""
        needed = self.needed(state)
        if needed > self.wanted:
            return self._affordable(needed, state), "the deadline is in danger"
        return self.wanted, ""

    def needed(self, state: RunState) -> int:
        """Return the replicas that the deadline takes.

        Enough for what is probable now; and for the slow end of what is believed, as soon as a
        later decision could no longer bring them in time. So a guess of the catalogue's does not
        fill a data centre, and a slow surprise still finds room to act.
        """
        estimate = self.estimate()
        probable = self._count(state, estimate.mid * math.exp(-CAUTION * estimate.spread), 0.0)
        slow = estimate.interval.low
        if self._count(state, slow, REACTION_S) >= self.maximum:
            return max(probable, self._count(state, slow, 0.0))
        return probable

    def _count(self, state: RunState, rate: float, later_s: float) -> int:
        """Return the replicas by which the rows are done in time if more are asked for later."""
        assert self.deadline_s is not None  # noqa: S101 - the caller's business
        left_s = self.deadline_s - state.now_s
        one_row_s = self.slots / self.estimate().mid
        time_s = left_s * (1 - SLACK) - one_row_s
        missing_s = state.left / rate - state.ready * max(0.0, time_s)
        if missing_s <= 0:
            return max(self.minimum, min(self.wanted, state.ready))
        # Those that were asked for and are not ready yet count as if asked for now.
        per_more_s = time_s - self.start_s - later_s
        if per_more_s <= 0:
            return self.maximum if later_s else self.wanted
        return min(self.maximum, max(state.ready + math.ceil(missing_s / per_more_s), self.minimum))

    def _affordable(self, count: int, state: RunState) -> int:
        """Return at most `count` replicas, as many as the cap leaves room for."""
        if self.max_cost_usd is None or self.replica_usd <= 0:
            return count
        minutes = math.ceil((self.slow_stop_s + OBSERVE_DELAY_S) / 60)
        room_usd = self.max_cost_usd - state.worst_usd
        more = math.floor(room_usd / (minutes * self.replica_usd))
        return max(self.wanted, min(count, self.wanted + max(0, more)))
