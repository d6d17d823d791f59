"""One rented endpoint: lease, guardian, create, wait, observe, tear down.

The order is the promise. The lease is on disk and the guardian is awake before the create call is
sent; both stay until the API itself has said that the endpoint is gone.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from mayfly.billing.meter import DRAIN_S, Meter
from mayfly.billing.usage import BilledPhase, Usage
from mayfly.clock import SYSTEM_CLOCK, Clock
from mayfly.endpoints.guardian import Guardian
from mayfly.endpoints.heartbeat import Heartbeat
from mayfly.inference.concurrency import FIRST_LIMIT
from mayfly.models.endpoint import (
    EndpointName,
    EndpointRef,
    EndpointSpec,
    Observation,
    Phase,
    Replicas,
)
from mayfly.models.errors import (
    EndpointLost,
    MayflyError,
    RetryableError,
    TimeToMove,
)
from mayfly.models.job import Rental, Teardown
from mayfly.models.lease import SETTLE_S, Lease
from mayfly.models.rows import EMPTY_TALLY
from mayfly.models.teardown import TeardownProof, unfinished_teardown
from mayfly.models.timeouts import Timeouts
from mayfly.storage.lease_store import LeaseStore
from mayfly.together.connection import Connection
from mayfly.together.control_plane import ControlPlane
from mayfly.together.readiness import await_ready
from mayfly.together.teardown import tear_down

_ONCE_LOST = (Phase.GONE, Phase.FAILED, Phase.STOPPED, Phase.STOPPING)


class EndpointSession:
    """One endpoint, from its lease to the proof that it is gone.

    Attributes:
        ref: What exists or may exist.
        meter: What it has cost, as far as it was observed.
        spending: Where the paid time went.
        answered: Rows that were answered on it.
        drain_s: From the stop until nothing billed; 0 before.
        calibrating: Whether it is rented to measure it: one replica, for a few rows.
        trial: What the rows that were tried on it have shown.
        concurrency_per_replica: Requests that a replica takes at once, if the platform says so.
        settled_limit: Requests in flight on one replica at which the limiter has settled, or 0.
        started_with: Replicas that were ready when the first requests could be sent.
        proof: The evidence of its end, once there is any.
    """

    def __init__(
        self,
        *,
        plane: ControlPlane,
        store: LeaseStore,
        connection: Connection,
        rental: Rental,
        lease: Lease,
        log: Callable[[str], None],
        timeouts: Timeouts,
        clock: Clock = SYSTEM_CLOCK,
        calibrating: bool = False,
    ) -> None:
        self.ref = lease.ref
        self.meter = Meter(price_usd_per_h=lease.ref.price_usd_per_h)
        self.spending = Usage()
        self.answered = EMPTY_TALLY
        self.drain_s = 0.0
        self.started_with = 1
        self.calibrating = calibrating
        self.trial: dict[str, Any] | None = None
        self.proof: TeardownProof | None = None
        self.ready_at: float | None = None
        self.first_limit = FIRST_LIMIT
        self.concurrency_per_replica: int | None = None
        self.settled_limit = 0.0
        self.created_at = clock.time()
        self.policy: Teardown = lease.teardown
        self.over = False
        self._plane, self._store, self._connection = plane, store, connection
        self._rental, self._log = rental, log
        self._timeouts, self._clock = timeouts, clock
        self._heart = Heartbeat(lease, store, self._arm, log, heartbeat_s=timeouts.heartbeat_s)
        # When absence proves that there is none; see `tear_down`. Nothing has been sent yet.
        self._settled_at = 0.0
        self._stop_requested_at: float | None = None
        self._phase: Phase | None = None

    def open(self) -> None:
        """Write the lease and wake the guardian: from here on something may exist.

        Raises:
            TerminalError: One of them cannot be had; nothing was created, and no lease is left.
        """
        self._store.open(self._heart.lease)
        try:
            self._heart.begin()
        except Exception:
            self._store.close(self._heart.lease)
            raise

    def create(self, spec: EndpointSpec) -> EndpointRef:
        """Create the endpoint, or adopt what an earlier attempt of ours with this name made."""
        before = self._settled_at
        try:
            self._keep(self._plane.create(spec, on_known=self._keep))
        except BaseException as error:
            self._settled_at = self._clock.time() + SETTLE_S if _in_doubt(error) else before
            raise
        return self.ref

    def start(self, ref: EndpointRef, replicas: Replicas) -> EndpointRef:
        """Use an endpoint that exists; start it if it is stopped."""
        self._keep(ref)
        if not self._plane.observe(ref).phase.may_bill:
            self._log(f"endpoint {ref.name} is stopped; starting it")
            self._plane.scale(ref, replicas)
        return self.ref

    def await_ready(self, on_observation: Callable[[Observation], None]) -> Observation:
        """Wait until requests are answered; every observation is shown and metered."""

        def observed(observation: Observation) -> None:
            self._note(observation)
            on_observation(observation)

        observation = await_ready(
            self._plane,
            self.ref,
            ready_timeout_s=self._rental.ready_timeout_s,
            capacity_timeout_s=self._rental.capacity_timeout_s,
            on_observation=observed,
            partly=True,
            clock=self._clock.monotonic,
            sleep=self._sleep,
        )
        self.ready_at = self._clock.time()
        self.started_with = max(observation.ready_replicas or 1, 1)
        self.concurrency_per_replica = observation.concurrency_per_replica
        if observation.concurrency_per_replica is not None:
            self.first_limit = observation.concurrency_per_replica * self.started_with
        self._heart.update(
            replace(self._heart.lease, ready_at=self.ready_at, replicas=self.started_with)
        )
        return observation

    def observe(self) -> Observation | None:
        """Observe it once while the batch runs; None when the API did not answer.

        Raises:
            EndpointLost: It failed, was stopped or is gone; or it is time to move.
        """
        self._heart.moved()
        named = EndpointName.parse(self.ref.name) if self.ref.created_by_us else None
        if named is not None and self._plane.now() > named.until - self._timeouts.move_before_s:
            raise TimeToMove(f"endpoint {self.ref.name}: the time in its name is nearly over")
        try:
            observation = self._plane.observe(self.ref)
        except RetryableError:
            return None
        self._note(observation)
        if observation.phase in _ONCE_LOST:
            raise EndpointLost(f"endpoint {self.ref.name} was lost under the batch: {observation}")
        return observation

    def guard(self) -> None:
        """Replace a guardian that has died."""
        self._heart.guard()

    def give_up(self) -> None:
        """Note that it cannot be used: what was asked for the batch's endpoint is not for this one.

        One of our own is deleted, so that none is kept, or kept stopped, that never served.
        """
        if self.ref.created_by_us and self.policy != "delete":
            self.policy = "delete"
            # The stop that follows does not wait for a disk.
            self._heart.note(replace(self._heart.lease, teardown="delete"))

    def record_settled(self, limit: float) -> None:
        """Keep the requests in flight at which the limiter has settled, for all replicas, or 0."""
        self.settled_limit = limit / max(self.meter.ready, 1)

    def record_trial(self, measured: dict[str, Any]) -> None:
        """Keep what the rows that were tried on it have shown."""
        self.trial = measured

    def request_stop(self) -> None:
        """Send the stop, once, and wait for nothing else; `stop` then insists and awaits its end.

        What bills ends by this call, so that it comes before everything that can hang. A refusal
        or a lost answer is left to `stop`.
        """
        if self.policy == "keep" or self.proof is not None or self._stop_requested_at is not None:
            return
        if self._phase in _ONCE_LOST:
            return
        with suppress(MayflyError):
            if self._plane.stop_known(self.ref):
                self._stop_requested_at = self._clock.time()

    def stop(self) -> None:
        """Stop the endpoint: what bills ends here."""
        if self.policy != "keep":
            self._end("stop")

    def finish(self) -> str:
        """Delete the endpoint or leave it as asked; let go of lease and guardian.

        Returns:
            What became of it, in words.

        Raises:
            TeardownFailed: It may still bill. Lease and guardian are kept.
        """
        if self.policy == "delete":
            self._end("delete")
        self._heart.end()
        self.over = True
        return self.ended

    @property
    def ended(self) -> str:
        """What became of the endpoint, in words."""
        if self.policy == "keep":
            return "left as it is, as asked; it bills until it is stopped"
        if self.proof is None:
            return "not torn down"
        if self.policy == "stop":
            return "stopped; nothing bills"
        return "deleted (confirmed: 404)"

    def left_behind(self) -> str:
        """Return what a teardown that is broken off now leaves, with the way out."""
        return unfinished_teardown(
            self.ref,
            bills=self.proof is None or self.proof.stopped_at is None,
            since=self.ready_at,
            why="its teardown was broken off, and the guardian goes on with it",
            aim="delete" if self.policy == "delete" else "stop",
        )

    def as_dict(self) -> dict[str, Any]:
        """Return its record for the report."""
        return {
            "name": self.ref.name,
            "hardware": self.ref.hardware,
            "price_usd_per_h": self.ref.price_usd_per_h,
            "created_at": self.created_at,
            "ready_at": self.ready_at,
            "replica_minutes": self.meter.replica_minutes,
            "usd": round(self.meter.spent_usd(self._clock.monotonic()), 6),
            "spending": self.spending.as_dict(
                usd=self.meter.spent_usd(self._clock.monotonic()),
                price_usd_per_h=self.meter.price_usd_per_h,
            ),
            "trial": self.trial,
            "ended": self.ended,
            "teardown": None if self.proof is None else self.proof.as_dict(),
        }

    def _end(self, policy: Teardown) -> None:
        assert policy != "keep"  # noqa: S101 - the callers' business
        began, billing = self._clock.monotonic(), self.meter.ready
        self.spending.sample(began, BilledPhase.DRAINING, billing)
        proof = tear_down(
            self._plane,
            self.ref,
            policy=policy,
            line="finally",
            budget_s=self._timeouts.teardown_s,
            settled_at=self._settled_at,
            stop_requested_at=self._stop_requested_at,
            billing_since=self.ready_at,
            aim="delete" if self.policy == "delete" else "stop",
            stopped=self.proof is not None and self.proof.stopped_at is not None,
            on_step=self._log,
            now=self._clock.time,
            clock=self._clock.monotonic,
            sleep=self._sleep,
        )
        self.proof = proof if self.proof is None else self.proof.followed_by(proof)
        now = self._clock.monotonic()
        self.meter.sample(now, 0)
        self.spending.sample(now, BilledPhase.DRAINING, 0)
        if billing:
            self.drain_s = now - began

    def _note(self, observation: Observation) -> None:
        self._phase = observation.phase
        ready = observation.ready_replicas
        if ready is None:
            ready = 1 if observation.phase is Phase.READY else 0
        # Replicas that were told to go may drain, and bill, for a while.
        desired = observation.desired_replicas
        scaled_in = ready < self.meter.ready and desired is not None and desired <= ready
        self.meter.sample(self._clock.monotonic(), ready, draining_s=DRAIN_S if scaled_in else 0.0)

    def _keep(self, ref: EndpointRef) -> None:
        self.ref = replace(
            ref,
            hardware=ref.hardware or self.ref.hardware,
            price_usd_per_h=self.ref.price_usd_per_h,
        )
        self._heart.update(replace(self._heart.lease, ref=self.ref))

    def _arm(self, record: bytes) -> Guardian:
        # A process of its own: it reads the connection from its environment.
        path, environ = self._store.path(self.ref.name), self._connection.environment()
        return Guardian.arm(path, environ, record=record)

    def _sleep(self, seconds: float) -> None:
        self._heart.moved()
        self._clock.sleep(seconds)
        self._heart.moved()


def _in_doubt(error: BaseException) -> bool:
    """Whether a create that ended so may yet take effect: all but the API's own refusals."""
    if isinstance(error, RetryableError):
        return error.status != 429
    return not isinstance(error, MayflyError)
