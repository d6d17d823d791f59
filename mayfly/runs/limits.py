"""Enforce the user's limits on one endpoint, and scale its replicas.

`mayfly.runs.autoscaler` decides; this module collects its input and carries out its decisions.
"""

from collections.abc import Callable

from mayfly.billing.usage import BilledPhase
from mayfly.endpoints.session import EndpointSession
from mayfly.inference.engine import Snapshot
from mayfly.models.cost import billed_minutes
from mayfly.models.durations import span
from mayfly.models.endpoint import Replicas
from mayfly.models.errors import MayflyError, RunStopped
from mayfly.models.offers import Offer
from mayfly.models.rows import Tally
from mayfly.planning.plan import Plan
from mayfly.planning.pricing import dollars
from mayfly.planning.throughput import work, work_per_row
from mayfly.planning.uncertainty import Estimate
from mayfly.runs.autoscaler import Autoscaler, RunState
from mayfly.runs.error_rate import check_error_rate
from mayfly.together.control_plane import ControlPlane

UNKNOWN_RATE = Estimate(1.0, 1.5)
"""Rows per second of a replica without any other estimate."""


def autoscaler_for(
    plan: Plan, offer: Offer | None, price_usd_per_h: float, *, calibrating: bool = False
) -> Autoscaler:
    """Return the autoscaler of the batch on an endpoint.

    A calibration uses one replica. Otherwise a run with a deadline changes the replicas itself,
    unless the user fixed their number; without a deadline the platform scales within the range.
    """
    job = plan.preview.job
    asked = Replicas() if calibrating else plan.replicas_on(offer)
    quote, bounds = plan.quote_of(offer), job.rental.bounds()
    ours = (
        offer is not None
        and not calibrating
        and job.limits.deadline_s is not None
        and (not job.rental.fixes_replicas or bounds.minimum < bounds.maximum)
    )
    most = bounds.maximum if job.rental.fixes_replicas else quote.most if quote else 1
    throughput = UNKNOWN_RATE
    if quote is not None and plan.load is not None:
        throughput = quote.rate.work_per_s.over(work_per_row(plan.load))
    autoscaler = Autoscaler(
        minimum=bounds.minimum if ours else asked.minimum,
        maximum=max(most, asked.minimum) if ours else asked.minimum,
        wanted=asked.minimum,
        rows_per_s=throughput,
        max_cost_usd=job.limits.max_cost_usd,
        deadline_s=job.limits.deadline_s,
        replica_usd=price_usd_per_h / 60,
    )
    if quote is not None:
        autoscaler.start_s = quote.rate.cold_start_s.mid
        autoscaler.slots = quote.rate.slots
    return autoscaler


class LimitEnforcer:
    """Enforces cost, time and error limits on one endpoint, and scales it.

    Attributes:
        desired: Replicas that are ready or may become ready at any time.
    """

    def __init__(
        self,
        session: EndpointSession,
        autoscaler: Autoscaler,
        *,
        plane: ControlPlane,
        before: Tally,
        log: Callable[[str], None],
        max_error_rate: float | None = None,
    ) -> None:
        """Prepare the limits of an endpoint.

        Args:
            before: Totals of the run before this endpoint.
            max_error_rate: Percent of rows that may fail; None is the default rule.
        """
        self.session = session
        self.autoscaler = autoscaler
        self.desired = autoscaler.wanted
        self._followed = 0
        self._plane, self._log = plane, log
        self._before = before
        self._max_error_rate = max_error_rate

    def enforce(
        self,
        now: float,
        *,
        age_s: float,
        tally: Tally,
        left: int,
        others_usd: float,
        engine: Snapshot | None,
    ) -> None:
        """Check the limits, and change the replicas if needed.

        Args:
            now: Monotonic time in seconds.
            age_s: Seconds of the run that count toward its deadline.
            tally: Totals of the run so far.
            left: Rows without an answer.
            others_usd: Cost of the run's other endpoints, in dollars.

        Raises:
            RunStopped: The cost limit, the deadline or the error rate was reached.
        """
        autoscaler, session = self.autoscaler, self.session
        meter = session.meter
        in_flight = engine.in_flight if engine is not None else 0
        self._spend(now, tally, left, engine)
        check_error_rate(
            tally,
            left=left,
            percent=self._max_error_rate,
            failure="" if engine is None else engine.failure,
        )
        if engine is not None and meter.ready:
            autoscaler.slots = max(1.0, engine.limit / meter.ready)
            if engine.settled:
                session.settled_limit = engine.settled / meter.ready
        if session.ready_at is not None:
            autoscaler.start_s = max(1.0, session.ready_at - session.created_at)
        bound, worst = autoscaler.bounds_usd(meter, now, self.desired)
        decision = autoscaler.decide(
            RunState(
                now_s=age_s,
                done=tally.done - self._before.done,
                left=left,
                in_flight=in_flight,
                ready=meter.ready,
                replica_s=meter.replica_s_at(now),
                bound_usd=others_usd + bound,
                worst_usd=others_usd + worst,
            )
        )
        match decision.action:
            case "stop_cost":
                spent = dollars(others_usd + meter.spent_usd(now))
                raise RunStopped(
                    f"stopped at --max-cost {dollars(autoscaler.max_cost_usd or 0)}: {spent} spent "
                    f"and up to {dollars(others_usd + bound)} with the teardown; "
                    f"{self._resume(left)}"
                )
            case "stop_time":
                raise RunStopped(
                    f"stopped at --deadline {span(autoscaler.deadline_s or 0)}; "
                    f"{self._resume(left)}"
                )
            case "scale":
                self._scale(decision.replicas, decision.why)
            case "go":
                return

    def note_desired(self, desired: int | None) -> None:
        """Record how many replicas the platform intends to run."""
        self.desired = max(self.autoscaler.wanted, desired or 0)

    def follow(self, ready: int) -> float | None:
        """Return the factor for the concurrency limit when the ready replicas have changed.

        None when they have not.
        """
        before = self._followed or self.session.started_with
        if not ready or ready == before:
            return None
        self._followed = ready
        return ready / before

    def _spend(self, now: float, tally: Tally, left: int, engine: Snapshot | None) -> None:
        spending, ready = self.session.spending, self.session.meter.ready
        if engine is None:
            spending.sample(now, BilledPhase.WAITING, ready)
            return
        here = Tally(*(n - o for n, o in zip(tally, self._before, strict=True)))
        self.session.answered = here
        phase = spending.phase_of(
            sent=bool(engine.in_flight or here.done), answered=here.done, left=left,
            in_flight=engine.in_flight,
        )  # fmt: skip
        spending.sample(
            now, phase, ready, in_flight=engine.in_flight, limit=engine.limit, rows=here.done,
            work=work(here.prompt_tokens, here.cached_tokens, here.completion_tokens),
        )  # fmt: skip

    def _scale(self, replicas: int, why: str) -> None:
        before = self.session.meter.ready
        try:
            self._plane.scale(self.session.ref, Replicas(minimum=replicas, maximum=replicas))
        except MayflyError as error:
            # The next decision requests it again, if it is still needed.
            self.autoscaler.wanted = max(before, 1)
            self._log(f"could not change to {replicas} replicas: {error}")
            return
        self.desired = max(replicas, self.session.meter.ready)
        self._log(f"{before} replicas, changing to {replicas}: {why}")

    def _resume(self, left: int) -> str:
        """Return how to answer the remaining rows, and the estimated cost."""
        throughput = self.autoscaler.estimate()
        usd = [
            billed_minutes(left / rate + self.autoscaler.drain_s) * self.autoscaler.replica_usd
            for rate in (throughput.interval.high, throughput.mid, throughput.interval.low)
        ]
        about = f"about {dollars(usd[1])} ({dollars(usd[0])} to {dollars(usd[2])})"
        more = f" for {about} more" if self.autoscaler.replica_usd else ""
        return f"{left:,} rows are left; run the same command again to answer them{more}"
