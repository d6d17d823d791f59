"""Watching over a run while its endpoint stands: endpoint, guardian, cost, time and replicas."""

import threading
import time

from mayfly.endpoints.provisioner import Renting
from mayfly.models.endpoint import Observation
from mayfly.models.errors import RunStopped
from mayfly.models.rows import NOTHING
from mayfly.runs.limits import LimitEnforcer, autoscaler_for
from mayfly.workers.pool import Sending

OBSERVE_EVERY_S = 10.0
"""How often the API is asked about the endpoint while rows are being answered."""

OBSERVE_IN_TROUBLE_S = 1.0
"""How often while requests fail and none is answered: an endpoint that somebody has stopped should
be noticed before rows are given up for it."""


class Watching(Renting):
    """What a run does while the batch is on its way; a part of `mayfly.runs.run.Run`."""

    _engine: Sending | None = None
    _observed_at = 0.0
    _bad, _answered = 0, 0
    _sent_before = NOTHING
    # One for all runs of a process, which do not get in each other's way: it is held for
    # microseconds, so that what an older look saw never replaces what a newer one did.
    _showing = threading.Lock()
    _keeper: LimitEnforcer | None = None

    def look_after(self) -> None:
        """Watch engine, endpoint, guardian and limits; called about once a second.

        Raises:
            EndpointLost: The endpoint failed, was stopped or is gone.
            RunStopped: The cost or the time that the user allows is used up.
        """
        now = time.monotonic()
        self.show()
        every_s = OBSERVE_IN_TROUBLE_S if self._in_trouble() else OBSERVE_EVERY_S
        if now - self._observed_at >= every_s:
            self._observed_at = now
            self.session.guard()
            if observation := self.session.look():
                self._take(observation)
                self._follow(self.session.meter.ready)
        self._keep(now)

    def look_while_waiting(self, observation: Observation) -> None:
        """Watch the limits while the endpoint starts: time runs, and replicas may bill already.

        Raises:
            RunStopped: The cost or the time that the user allows is used up.
        """
        self._take(observation)
        self._keep(time.monotonic())

    def may_rent(self) -> None:
        """Look whether the limits leave room for an endpoint.

        Raises:
            RunStopped: A minute of it would pass the cap, or the deadline is over.
        """
        now = time.monotonic()
        limits = self.job.limits
        if limits.deadline_s is not None and now - self.began >= limits.deadline_s:
            raise RunStopped(
                "stopped at --deadline, before another endpoint; run the same command again to "
                "go on"
            )
        if limits.max_cost_usd is None or self.plan is None or not self.sessions:
            return
        least_usd = self.plan.usd_per_h / 60
        if self.spent_usd() + least_usd > limits.max_cost_usd:
            raise RunStopped(
                f"stopped at --max-cost, ${self.spent_usd():.2f} spent: no minute of another "
                "endpoint is left; run the same command again to go on"
            )

    def show(self) -> None:
        """Bring the progress up to date with engine and meter; from any thread."""
        with self._showing:
            if (engine := self._engine) is not None:
                look = engine.snapshot()
                tally = self._sent_before + look.tally
                self.progress.update(tally=tally, in_flight=look.in_flight, limit=look.limit)
            self.progress.update(spent_usd=self.spent_usd())

    def spent_usd(self) -> float:
        """Return dollars billed to this run so far, by the meter's assumption."""
        now = time.monotonic()
        return sum(session.meter.spent_usd(now) for session in self.sessions)

    @property
    def enforcer(self) -> LimitEnforcer:
        """What looks after the endpoint in use."""
        if self._keeper is None or self._keeper.session is not self.session:
            assert self.plan is not None  # noqa: S101 - nothing is rented without a plan
            self._keeper = LimitEnforcer(
                self.session,
                autoscaler_for(
                    self.plan,
                    self.offer,
                    self.session.meter.price_usd_per_h,
                    trying=self.trying,
                ),
                plane=self.plane,
                began=self.began,
                before=self.progress.snapshot().tally,
                say=self.progress.say,
                max_error_rate=self.job.limits.max_error_rate,
            )
        return self._keeper

    def _in_trouble(self) -> bool:
        """Whether requests have failed since the last look, and none was answered."""
        if self._engine is None:
            return False
        look = self._engine.snapshot()
        bad, answered = look.retries + look.tally.failed, look.tally.done - look.tally.failed
        trouble = bad > self._bad and answered == self._answered
        self._bad, self._answered = bad, answered
        return trouble

    def _take(self, observation: Observation) -> None:
        ready = observation.ready_replicas or 0
        self.progress.update(state=observation.word, ready_replicas=ready)
        self.enforcer.seen(observation.desired_replicas)

    def _follow(self, ready: int) -> None:
        """Let the limit on requests in flight grow and shrink with the replicas that answer."""
        followed = self.enforcer.followed or self.session.started_with
        if ready and ready != followed and self._engine is not None:
            self._engine.scaled(ready / followed)
            self.enforcer.followed = ready

    def _keep(self, now: float) -> None:
        look = self.progress.snapshot()
        others = (session.meter.spent_usd(now) for session in self.sessions[:-1])
        engine = self._engine
        self.enforcer.look(
            now,
            tally=look.tally,
            left=max(0, look.rows - look.done),
            others_usd=sum(others),
            engine=None if engine is None else engine.snapshot(),
        )
