"""The session of one endpoint: lease, guardian, create, wait, observe, tear down.

The order is what guarantees the teardown. The lease is on disk and the guardian runs before the
create call is sent; both remain until the API has confirmed the end of the endpoint.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
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
    TimeToFirstToken,
)
from mayfly.models.errors import (
    EndpointLost,
    MayflyError,
    RetryableError,
    TerminalError,
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
from mayfly.together.retry import with_retries
from mayfly.together.teardown import tear_down

CREATE_RETRIES_S = 120.0
"""How long the calls of a create are retried; the wait for READY may be shorter. Not for longer: a
deployment may be READY, and bill, before requests are routed to it."""

_ONCE_LOST = (Phase.GONE, Phase.FAILED, Phase.STOPPED, Phase.STOPPING)


class EndpointSession:
    """One endpoint, from its lease to the proof of its deletion.

    Attributes:
        ref: The endpoint that exists or may exist.
        meter: Its cost, as far as it was observed.
        spending: Paid time by phase.
        answered: Rows answered on it.
        drain_s: Seconds from the stop until billing ended; 0 before.
        calibrating: Whether it is only measured: one replica, for a few rows.
        trial: Result of the calibration, if there was one.
        concurrency_per_replica: Concurrent requests of a replica, if the platform publishes it.
        settled_limit: Requests in flight on one replica at which the limiter settled, or 0.
        started_with: Ready replicas when the first requests could be sent.
        proof: The proof of its teardown, once there is one.
        first_token: Time to the first token, as the API measured it.
        bills_anyway: Whether it was running before this run, which did not create it.
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
        self.first_token = TimeToFirstToken()
        self.ready_at: float | None = None
        self.first_limit = FIRST_LIMIT
        self.concurrency_per_replica: int | None = None
        self.settled_limit = 0.0
        self.created_at = clock.time()
        self.policy: Teardown = lease.teardown
        self.over = False
        self.bills_anyway = False
        self._plane, self._store, self._connection = plane, store, connection
        self._rental, self._log = rental, log
        self._timeouts, self._clock = timeouts, clock
        self._heart = Heartbeat(lease, store, self._arm, log, heartbeat_s=timeouts.heartbeat_s)
        # From this time of the monotonic clock on, a 404 proves that it does not exist.
        self._settled_at = 0.0
        # Until this time the API may not show it yet, unless it has done so.
        self._unseen_until = 0.0
        self._stop_requested_at: float | None = None
        self._phase: Phase | None = None

    def open(self) -> None:
        """Write the lease and start the guardian: from now on the endpoint may exist.

        Raises:
            TerminalError: One of them failed; nothing was created, and no lease remains.
        """
        self._store.open(self._heart.lease)
        try:
            self._heart.begin()
        except Exception:
            self._store.close(self._heart.lease)
            raise

    def create(self, spec: EndpointSpec) -> EndpointRef:
        """Create the endpoint, or adopt the one that an earlier attempt with this name created.

        Raises:
            TerminalError: The API did not take the calls in time.
        """
        try:
            return with_retries(
                lambda: self._create_once(spec),
                budget_s=min(CREATE_RETRIES_S, self._rental.ready_timeout_s),
                log=self._log,
                under_way=True,
                clock=self._clock.monotonic,
                sleep=self._sleep,
            )
        except RetryableError as error:
            # The step must not begin again with all of it.
            raise TerminalError(str(error)) from error

    def _create_once(self, spec: EndpointSpec) -> EndpointRef:
        before = self._settled_at
        try:
            self._keep(self._plane.create(spec, on_known=self._created))
        except BaseException as error:
            self._settled_at = self._clock.monotonic() + SETTLE_S if _in_doubt(error) else before
            raise
        return self.ref

    def start(self, ref: EndpointRef, replicas: Replicas) -> EndpointRef:
        """Use an endpoint that exists; start it if it is stopped."""
        self._keep(ref)
        self.bills_anyway = self._plane.observe(ref).phase.may_bill
        if not self.bills_anyway:
            self._log(f"endpoint {ref.name} is stopped; starting it")
            self._plane.scale(ref, replicas)
        return self.ref

    def await_ready(self, on_observation: Callable[[Observation], None]) -> Observation:
        """Wait until requests are answered; report and meter every observation."""

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
            unseen=lambda: self._clock.monotonic() < self._unseen_until,
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
        """Observe the endpoint once while the batch runs; None when the API did not answer.

        Raises:
            EndpointLost: It failed, was stopped or deleted, or its lifetime is nearly over.
        """
        self._heart.moved()
        named = EndpointName.parse(self.ref.name) if self.ref.created_by_us else None
        if named is not None and self._plane.now() > named.until - self._timeouts.move_before_s:
            raise TimeToMove(f"endpoint {self.ref.name}: its lifetime is nearly over")
        try:
            observation = self._plane.observe(self.ref)
        except RetryableError:
            return None
        self._note(observation)
        if observation.phase in _ONCE_LOST:
            raise EndpointLost(f"endpoint {self.ref.name} was lost during the batch: {observation}")
        return observation

    def guard(self) -> None:
        """Replace a guardian that has died."""
        self._heart.guard()

    def mark_unusable(self) -> None:
        """Mark it as unusable, so that it is deleted even with --teardown stop or keep.

        That applies to an endpoint of this run: one that never served must not be kept.
        """
        if self.ref.created_by_us and self.policy != "delete":
            self.policy = "delete"
            # The stop that follows must not wait for a disk.
            self._heart.note(replace(self._heart.lease, teardown="delete"))

    def record_settled(self, limit: float) -> None:
        """Record the limit (for all replicas, or 0) at which the limiter has settled."""
        self.settled_limit = limit / max(self.meter.ready, 1)

    def record_calibration(self, measured: dict[str, Any]) -> None:
        """Record the result of a calibration."""
        self.trial = measured

    def request_stop(self) -> None:
        """Send the stop once, and wait for nothing else; `stop` then repeats and confirms it.

        This call ends the billing, so it comes before everything that can hang. A refusal or a
        lost response is left to `stop`.
        """
        if self.policy == "keep" or self.proof is not None or self._stop_requested_at is not None:
            return
        if self._phase in _ONCE_LOST:
            return
        with suppress(MayflyError):
            if self._plane.stop_known(self.ref):
                self._stop_requested_at = self._clock.time()

    def stop(self) -> None:
        """Stop the endpoint, which ends its billing."""
        if self.policy != "keep":
            self._end("stop")
            self._read_latency()

    def finish(self) -> str:
        """Delete, stop or keep the endpoint as requested; close the lease and release the guardian.

        Returns:
            How it ended, for people.

        Raises:
            TeardownFailed: It may still bill. Lease and guardian remain.
        """
        if self.policy == "delete":
            self._end("delete")
        elif self.policy == "keep":
            # What it costs from now on is not this run's.
            now = self._clock.monotonic()
            self.spending.sample(now, BilledPhase.DRAINING, 0)
            self.meter.sample(now, 0)
        self._heart.end()
        self.over = True
        return self.ended

    @property
    def ended(self) -> str:
        """How the endpoint ended, for people."""
        if not self.ref.created_by_us and self._is_gone:
            return "deleted, but not by this run"
        if self.policy == "keep":
            how = "as requested" if self.ref.created_by_us else "as it was found"
            return f"kept, {how}; it bills until it is stopped"
        if self.proof is None:
            return "not torn down"
        if self.policy == "stop":
            return "stopped; billing has ended"
        return self.proof.end

    @property
    def _is_gone(self) -> bool:
        if self.proof is not None:
            return self.proof.gone_at is not None
        return self._phase is Phase.GONE

    def remaining_endpoint(self) -> str:
        """Return what an aborted teardown leaves running, and how to end it."""
        return unfinished_teardown(
            self.ref,
            bills=self.proof is None or self.proof.stopped_at is None,
            since=self.ready_at,
            why="its teardown was aborted; the guardian continues it",
            aim="delete" if self.policy == "delete" else "stop",
        )

    def as_dict(self) -> dict[str, Any]:
        """Return its record for the report."""
        return {
            "name": self.ref.name,
            "bills_anyway": self.bills_anyway,
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
            "first_token": asdict(self.first_token),
            "trial": self.trial,
            "ended": self.ended,
            "teardown": None if self.proof is None else self.proof.as_dict(),
        }

    def _read_latency(self) -> None:
        """Read what only the API knows, after the billing has ended and before the delete."""
        # Of an endpoint that exists already, others' requests are in the figures.
        if self.ready_at is None or not self.ref.created_by_us:
            return
        with suppress(Exception):  # Whatever it is, it must not hold up the delete.
            self.first_token = self._plane.time_to_first_token(self.ref)

    def _end(self, policy: Teardown) -> None:
        assert policy != "keep"  # noqa: S101 - callers check it
        began, billing = self._clock.monotonic(), self.meter.ready
        self.spending.sample(began, BilledPhase.DRAINING, billing)
        proof = tear_down(
            self._plane,
            self.ref,
            policy=policy,
            line="finally",
            budget_s=self._timeouts.teardown_s,
            unsettled_s=max(0.0, self._settled_at - began),
            unseen_s=max(0.0, self._unseen_until - began),
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
        if self._unseen_until and observation.phase is not Phase.GONE:
            self._unseen_until = 0.0
            self._heart.note(replace(self._heart.lease, unseen=False))
        ready = observation.ready_replicas
        if ready is None:
            ready = 1 if observation.phase is Phase.READY else 0
        # Replicas that are scaled in may drain, and bill, for a while.
        desired = observation.desired_replicas
        scaled_in = ready < self.meter.ready and desired is not None and desired <= ready
        self.meter.sample(self._clock.monotonic(), ready, draining_s=DRAIN_S if scaled_in else 0.0)

    def _created(self, ref: EndpointRef) -> None:
        if not self.ref.endpoint_id:
            self._unseen_until = self._clock.monotonic() + SETTLE_S
        self._keep(ref)

    def _keep(self, ref: EndpointRef) -> None:
        self.ref = replace(
            ref,
            hardware=ref.hardware or self.ref.hardware,
            price_usd_per_h=self.ref.price_usd_per_h,
        )
        unseen = self._unseen_until > 0
        self._heart.update(replace(self._heart.lease, ref=self.ref, unseen=unseen))

    def _arm(self, record: bytes) -> Guardian:
        # The guardian process reads the connection from its environment.
        path, environ = self._store.path(self.ref.name), self._connection.environment()
        return Guardian.arm(path, environ, record=record, hang_s=self._timeouts.silence_s)

    def _sleep(self, seconds: float) -> None:
        self._heart.moved()
        self._clock.sleep(seconds)
        self._heart.moved()


def _in_doubt(error: BaseException) -> bool:
    """Return whether a failed create may still take effect; only the API's refusals may not."""
    if isinstance(error, RetryableError):
        return error.status != 429
    return not isinstance(error, MayflyError)
