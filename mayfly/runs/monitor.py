"""Monitor a run: its endpoint, guardian, cost, deadline and replicas."""

import threading
from collections import Counter
from collections.abc import Mapping

from mayfly.clock import Clock
from mayfly.endpoints.provisioner import Provisioner
from mayfly.models.endpoint import Observation
from mayfly.models.errors import RunStopped
from mayfly.models.job import Job
from mayfly.models.rows import EMPTY_TALLY
from mayfly.models.timeouts import Timeouts
from mayfly.planning.plan import Plan
from mayfly.reporting.progress import Progress
from mayfly.runs.limits import LimitEnforcer, autoscaler_for
from mayfly.runs.stalls import StallDetector
from mayfly.together.control_plane import ControlPlane
from mayfly.workers.pool import Sending


class Monitor:
    """Monitors a run and enforces the user's limits."""

    def __init__(
        self,
        job: Job,
        *,
        provisioner: Provisioner,
        plane: ControlPlane,
        progress: Progress,
        timeouts: Timeouts,
        clock: Clock,
        stalls: StallDetector,
    ) -> None:
        """Begin to watch.

        Args:
            stalls: Notices that the run does not move while rows are sent.
        """
        self._job, self._provisioner, self._plane = job, provisioner, plane
        self._stalls = stalls
        self._progress, self._timeouts, self._clock = progress, timeouts, clock
        self._began = clock.monotonic()
        self._plan: Plan | None = None
        self._engine: Sending | None = None
        # Totals of the run before the current engine, which counts from zero.
        self._sent_before = EMPTY_TALLY
        self._retries_before: Mapping[str, int] = {}
        self._observed_at = 0.0
        self._bad = self._answered = 0
        self._enforcer: LimitEnforcer | None = None
        # Held for microseconds, so that an older snapshot never replaces a newer one.
        self._showing = threading.Lock()

    @property
    def age_s(self) -> float:
        """Seconds of the run that count toward its deadline."""
        return self._clock.monotonic() - self._began

    def exclude_time(self, seconds: float) -> None:
        """Exclude time from the deadline, such as the wait for an approval."""
        self._began += seconds

    def use_plan(self, plan: Plan) -> None:
        """Use this plan from now on."""
        self._plan = plan

    def watch(self, engine: Sending | None) -> None:
        """Monitor an engine that begins to send; None ends that."""
        self.show()
        with self._showing:
            progress = self._progress.snapshot()
            self._sent_before, self._retries_before = progress.tally, progress.retries
            self._engine = engine
        self._stalls.begin()

    def check(self) -> None:
        """Check engine, endpoint, guardian and limits; called about once a second.

        Raises:
            EndpointLost: The endpoint failed, was stopped or is gone.
            RunStopped: The cost limit or the deadline was reached.
            RunStalled: The output accepts no answers, or no further rows can be read.
        """
        now = self._clock.monotonic()
        self.show()
        if self._engine is not None:
            self._stalls.check(self._engine.snapshot())
        times = self._timeouts
        every_s = times.observe_in_trouble_s if self._in_trouble() else times.observe_every_s
        if now - self._observed_at >= every_s:
            self._observed_at = now
            session = self._provisioner.session
            session.guard()
            if observation := session.observe():
                self._note(observation)
                self._follow(session.meter.ready)
        self._enforce(now)

    def check_while_waiting(self, observation: Observation) -> None:
        """Check the limits while the endpoint starts: time passes, and replicas may already bill.

        Raises:
            RunStopped: The cost limit or the deadline was reached.
        """
        self._note(observation)
        self._enforce(self._clock.monotonic())

    def check_may_provision(self) -> None:
        """Check whether the limits allow an endpoint.

        Raises:
            RunStopped: One minute of it would exceed the cost limit, or the deadline has passed.
        """
        limits = self._job.limits
        if limits.deadline_s is not None and self.age_s >= limits.deadline_s:
            raise RunStopped(
                "stopped at --deadline before creating another endpoint; run the same command "
                "again to resume"
            )
        if limits.max_cost_usd is None or self._plan is None or not self._provisioner.sessions:
            return
        spent_usd, minimum_usd = self._provisioner.spent_usd(), self._plan.usd_per_h / 60
        if spent_usd + minimum_usd > limits.max_cost_usd:
            raise RunStopped(
                f"stopped at --max-cost with ${spent_usd:.2f} spent: the rest does not pay for one "
                "minute of another endpoint; run the same command again to resume"
            )

    def show(self) -> None:
        """Update the progress from engine and meter; from any thread."""
        with self._showing:
            if (engine := self._engine) is not None:
                now = engine.snapshot()
                tally = self._sent_before + now.tally
                retries = Counter(now.reasons) + Counter(self._retries_before)
                if now.hedges:
                    retries["hedge"] += now.hedges
                self._progress.update(
                    tally=tally,
                    retries=dict(retries),
                    in_flight=now.in_flight,
                    limit=now.limit,
                )
            self._progress.update(spent_usd=self._provisioner.spent_usd())

    @property
    def _limits(self) -> LimitEnforcer:
        """The limit enforcer of the endpoint in use."""
        session = self._provisioner.session
        if self._enforcer is None or self._enforcer.session is not session:
            assert self._plan is not None  # noqa: S101 - nothing is rented without a plan
            self._enforcer = LimitEnforcer(
                session,
                autoscaler_for(
                    self._plan,
                    self._provisioner.offer,
                    session.meter.price_usd_per_h,
                    calibrating=session.calibrating,
                ),
                plane=self._plane,
                before=self._progress.snapshot().tally,
                log=self._progress.log,
                max_error_rate=self._job.limits.max_error_rate,
            )
        return self._enforcer

    def _in_trouble(self) -> bool:
        """Return whether requests have failed since the last check, and none was answered."""
        if self._engine is None:
            return False
        now = self._engine.snapshot()
        bad, answered = now.retries + now.tally.failed, now.tally.done - now.tally.failed
        trouble = bad > self._bad and answered == self._answered
        self._bad, self._answered = bad, answered
        return trouble

    def _note(self, observation: Observation) -> None:
        ready = observation.ready_replicas or 0
        self._progress.update(state=observation.short_state, ready_replicas=ready)
        self._limits.note_desired(observation.desired_replicas)

    def _follow(self, ready: int) -> None:
        """Scale the concurrency limit with the number of ready replicas."""
        if self._engine is not None and (factor := self._limits.follow(ready)) is not None:
            self._engine.scaled(factor)

    def _enforce(self, now: float) -> None:
        progress = self._progress.snapshot()
        others = (session.meter.spent_usd(now) for session in self._provisioner.sessions[:-1])
        self._limits.enforce(
            now,
            age_s=now - self._began,
            tally=progress.tally,
            left=max(0, progress.rows - progress.done),
            others_usd=sum(others),
            engine=None if self._engine is None else self._engine.snapshot(),
        )
