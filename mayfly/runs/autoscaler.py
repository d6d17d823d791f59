"""Decide about once a second on the replicas of a run, and when to stop it for cost or time.

Pure: state in, decision out. Two guarantees hold whatever the endpoint does. The committed cost
stays below the cost limit, or within one replica-minute of it if everything stops as slowly as
possible. A run that can meet its deadline has the replicas for it.

Work costs the same on few replicas as on many; the overhead is each replica's started minute and
its draining. So the run uses as few replicas as the deadline allows, adds some when the deadline
is in danger, and removes some only when the remaining rows do not fill them.
"""

import math
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from mayfly.billing.meter import DRAIN_S, GRACE_S, STOP_CALL_S, Meter
from mayfly.planning.throughput import DEFAULT_SLOTS, Throughput
from mayfly.planning.uncertainty import Estimate

DECIDE_EVERY_S = 2.0
"""Seconds until the next decision."""

OBSERVE_DELAY_S = 12.0
"""Seconds until the next observation of the endpoint: requested replicas may be ready that much
earlier."""

SLACK = 0.04
"""Share of the time until the deadline that is kept in reserve."""

CAUTION = 0.7
"""Spreads below the middle of the rate that count as probable: 3 of 4 rates are faster."""

REACTION_S = 90.0
"""Seconds until a later decision about the deadline can change the number of replicas."""

MIN_CHANGE_INTERVAL_S = 45.0
"""Shortest time between two changes of replicas, in seconds."""

FILL_FACTOR = 1.0
"""A replica is removed when the remaining rows fit into this share of the others' slots."""


class RunState(NamedTuple):
    """The observed state of a run.

    Attributes:
        now_s: Seconds since the run began.
        done: Rows answered by this run on all its endpoints.
        left: Rows without an answer.
        in_flight: Rows in flight.
        ready: Ready replicas.
        replica_s: Replica-seconds ready so far, for the throughput.
        bound_usd: Total cost if the run is stopped now and stops as expected.
        worst_usd: Total cost if the run is stopped now and stops as slowly as possible.
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
    """What to do: continue, change the number of replicas, or stop at a limit."""

    action: Literal["go", "scale", "stop_cost", "stop_time"]
    replicas: int = 0
    why: str = ""


GO = Decision("go")


@dataclass(slots=True)
class Autoscaler:
    """Autoscaler and limits of the batch on one endpoint.

    Attributes:
        minimum, maximum: Bounds on the replicas; equal when the user fixed the number.
        rows_per_s: Prior estimate of one replica's rows per second.
        max_cost_usd, deadline_s: The user's limits; the deadline counts from the start of the run.
        replica_usd: Price of a replica-minute in dollars.
        start_s: Time until a further replica is ready, in seconds.
        drain_s: Expected time that an idle replica takes to drain, in seconds.
        wanted: Replicas requested last.
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
        """Return the current estimate of one replica's rows per second."""
        return self.throughput.estimate(self.rows_per_s, self.slots)

    @property
    def stop_s(self) -> float:
        """Expected time from the decision to stop until billing ends, in seconds."""
        one_row_s = self.slots / self.estimate().mid
        return DECIDE_EVERY_S + min(GRACE_S, 1.5 * one_row_s) + STOP_CALL_S / 4 + self.drain_s

    @property
    def slow_stop_s(self) -> float:
        """Longest time from the decision to stop until billing ends, in seconds."""
        return DECIDE_EVERY_S + GRACE_S + STOP_CALL_S + max(DRAIN_S, 2 * self.drain_s)

    def bounds_usd(self, meter: Meter, now_s: float, desired: int) -> tuple[float, float]:
        """Return the endpoint's total cost if stopped now: expected and worst case, in dollars.

        Replicas that were requested may become ready at any time.
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
            return filled, f"the last {state.left:,} rows do not fill more"
        if self.deadline_s is None:
            return self.wanted, ""
        needed = self.needed(state)
        if needed > self.wanted:
            return self._affordable(needed, state), "the deadline is in danger"
        return self.wanted, ""

    def needed(self, state: RunState) -> int:
        """Return the replicas that the deadline requires.

        That is enough for the probable rate; and enough for the low end of the estimate once a
        later decision would come too late. So a vague estimate does not request many replicas at
        once, and a slow endpoint is still noticed in time.
        """
        estimate = self.estimate()
        probable = self._count(state, estimate.mid * math.exp(-CAUTION * estimate.spread), 0.0)
        slow = estimate.interval.low
        if self._count(state, slow, REACTION_S) >= self.maximum:
            return max(probable, self._count(state, slow, 0.0))
        return probable

    def _count(self, state: RunState, rate: float, later_s: float) -> int:
        """Return the replicas that finish in time if more can only be requested after `later_s`."""
        assert self.deadline_s is not None  # noqa: S101 - the caller's business
        left_s = self.deadline_s - state.now_s
        one_row_s = self.slots / self.estimate().mid
        time_s = left_s * (1 - SLACK) - one_row_s
        missing_s = state.left / rate - state.ready * max(0.0, time_s)
        if missing_s <= 0:
            return max(self.minimum, min(self.wanted, state.ready))
        # Requested replicas that are not ready yet count as if requested now.
        per_more_s = time_s - self.start_s - later_s
        if per_more_s <= 0:
            return self.maximum if later_s else self.wanted
        return min(self.maximum, max(state.ready + math.ceil(missing_s / per_more_s), self.minimum))

    def _affordable(self, count: int, state: RunState) -> int:
        """Return at most `count` replicas, limited by what the cost limit still allows."""
        if self.max_cost_usd is None or self.replica_usd <= 0:
            return count
        minutes = math.ceil((self.slow_stop_s + OBSERVE_DELAY_S) / 60)
        room_usd = self.max_cost_usd - state.worst_usd
        more = math.floor(room_usd / (minutes * self.replica_usd))
        return max(self.wanted, min(count, self.wanted + max(0, more)))
