"""Provision the endpoints of one run, one at a time: hardware, name, lease and create."""

import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from mayfly.clock import Clock
from mayfly.endpoints.cleanup import end_leases_endpoint, owner_is_dead
from mayfly.endpoints.process_liveness import is_this_process, owner_is_alive, this_process
from mayfly.endpoints.session import EndpointSession
from mayfly.models.endpoint import EndpointName, EndpointRef, EndpointSpec, Replicas, job_digest
from mayfly.models.errors import (
    BadRequest,
    EndpointLost,
    HardwareUnavailable,
    MayflyError,
    TerminalError,
    TimeToMove,
)
from mayfly.models.job import Job, Teardown
from mayfly.models.lease import Lease
from mayfly.models.offers import Offer
from mayfly.models.timeouts import Timeouts
from mayfly.reporting.progress import Progress
from mayfly.storage.lease_store import LeaseStore
from mayfly.together.connection import Connection
from mayfly.together.control_plane import ControlPlane

MOST_LOSSES = 3
"""Endpoints that a run may lose before it fails, to bound its cost."""

SLACK_S = 3600
"""Lifetime beyond the deadline and the wait for READY: for teardown, and for clock differences."""


class Terms(Protocol):
    """The plan's settings for the endpoint of an offer."""

    @property
    def existing(self) -> EndpointRef | None:
        """The endpoint that the job names, if it names one."""

    def replicas_on(self, offer: Offer | None) -> Replicas:
        """Return the replica bounds to request."""

    def scale_at(self, offer: Offer) -> float:
        """Return the requests in flight per replica at which the platform adds a replica."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunIdentity:
    """Identity of a run in its endpoints' names and leases.

    Attributes:
        id: The run's id, by which its lease is found.
        fingerprint: SHA-256 (hex) of the request, the input and the provider.
        output: The output folder's absolute path.
    """

    id: str
    fingerprint: str
    output: str

    @property
    def job_digest(self) -> str:
        """10 hex digits for the names of this run's endpoints.

        It includes the run's id: two machines may share a host name and folder names, and must
        never use each other's endpoint.
        """
        return job_digest(self.fingerprint, socket.gethostname(), self.output, self.id)


class Provisioner:
    """Provisions endpoints for a run, one at a time.

    Attributes:
        sessions: The endpoints of this run; the last one may still exist.
        moves: Reasons for moving on to another endpoint, for people.
        offer: The offer of the endpoint in use; None for an existing endpoint.
    """

    def __init__(
        self,
        job: Job,
        *,
        run: RunIdentity,
        connection: Connection,
        plane: ControlPlane,
        store: LeaseStore,
        progress: Progress,
        timeouts: Timeouts,
        clock: Clock,
    ) -> None:
        self.sessions: list[EndpointSession] = []
        self.moves: list[str] = []
        self.offer: Offer | None = None
        self._job, self._run = job, run
        self._connection, self._plane, self._store = connection, plane, store
        self._progress, self._timeouts, self._clock = progress, timeouts, clock
        self._terms: Terms | None = None
        self._last_error: MayflyError | None = None

    def use_terms(self, terms: Terms) -> None:
        """Use these terms from now on."""
        self._terms = terms

    @property
    def most_replicas(self) -> int:
        """Largest number of replicas of the endpoint in use, as far as is known."""
        asked = self._terms.replicas_on(self.offer).maximum if self._terms is not None else 1
        return max([asked, *(session.started_with for session in self.sessions[-1:])])

    def reclaim(self) -> None:
        """End the endpoints that an earlier run into this output left.

        The caller holds the folder's lock, so that run has ended.
        """
        self._store.check_writable()
        for lease in self._store.of_output(self._run.output):
            if (lease.provider, lease.project) != (
                self._connection.provider,
                self._plane.project,
            ):
                continue
            mine = is_this_process(lease.owner)
            if not mine and owner_is_alive(lease.owner):
                # It has released the folder and is about to end its endpoint itself.
                continue
            if not mine and not owner_is_dead(
                lease, self._store, log=self._progress.log, sleep=self._clock.sleep
            ):
                # A shared file system may not share locks between machines.
                raise BadRequest(
                    f"output {self._run.output} is in use by process {lease.owner.pid} on "
                    f"{lease.owner.host}; wait until it has ended, or stop it"
                )
            self._progress.log(f"ending orphaned endpoint {lease.name} of an earlier run")
            end_leases_endpoint(
                lease,
                self._plane,
                self._connection,
                line="next run",
                store=self._store,
                budget_s=self._timeouts.teardown_s,
                on_step=self._progress.log,
                clock=self._clock,
            )

    def in_turn(
        self, offers: Sequence[Offer] | None, rows_left: Callable[[], int]
    ) -> Iterator[Offer | None]:
        """Yield the offer to use next, while rows are left.

        An endpoint that was lost during the batch is replaced by one of the same offer.

        Args:
            offers: Offers in the order in which to try them; None for the existing endpoint that
                the job names, which yields None once.

        Raises:
            TerminalError: All offers have failed.
        """
        losses = 0
        left: list[Offer | None] = [None] if offers is None else [*offers]
        while left and rows_left():
            tried = len(self.moves)
            yield left[0]
            if len(self.moves) == tried:
                return
            lost = isinstance(self._last_error, EndpointLost)
            losses += lost and not isinstance(self._last_error, TimeToMove)
            # An existing endpoint that someone stopped is not started again.
            if not lost or losses > MOST_LOSSES or offers is None:
                left.pop(0)
            if not left and offers is None:
                raise TerminalError(
                    f"{'; '.join(self.moves)}; this run did not create it and does not replace it: "
                    "start it, or name another with --endpoint, and run the same command again"
                )
            if not left:
                raise TerminalError(f"no hardware left to try: {'; '.join(self.moves)}")

    def move_on(self, error: HardwareUnavailable | EndpointLost) -> None:
        """Record that this endpoint is unusable and another is needed."""
        self._last_error = error
        if self.exists:
            self.session.mark_unusable()
        self.moves.append(str(error))
        self._progress.log(str(error))

    @property
    def session(self) -> EndpointSession:
        """The endpoint in use."""
        return self.sessions[-1]

    @property
    def exists(self) -> bool:
        """Whether an endpoint of this run may still exist."""
        return bool(self.sessions) and not self.session.over

    def provision(self, offer: Offer | None, *, calibrating: bool = False) -> EndpointRef:
        """Write the lease, start the guardian, and create or start the endpoint.

        Args:
            calibrating: Whether to create it with one replica, to measure it.
        """
        self.offer = offer
        if not self.exists:
            lease = self._lease_for(offer)
            session = EndpointSession(
                plane=self._plane,
                store=self._store,
                connection=self._connection,
                rental=self._job.rental,
                lease=lease,
                log=self._progress.log,
                timeouts=self._timeouts,
                clock=self._clock,
                calibrating=calibrating,
            )
            self._progress.update(
                endpoint=lease.name,
                state="",
                ready_replicas=0,
                hardware=lease.ref.hardware,
                price_usd_per_h=lease.ref.price_usd_per_h,
            )
            session.open()
            self.sessions.append(session)
        session = self.session
        if offer is None:
            return session.start(session.ref, self._job.rental.bounds())
        return session.create(self._spec_for(offer, session))

    def request_stop(self) -> None:
        """Send the stop of the endpoint in use, if there is one, without waiting for its end."""
        if self.exists:
            self.session.request_stop()

    def remaining_endpoint(self) -> str | None:
        """Return what an aborted teardown leaves running; None when nothing exists."""
        return self.session.remaining_endpoint() if self.exists else None

    def spent_usd(self) -> float:
        """Return the metered cost of this run so far, in dollars."""
        now = self._clock.monotonic()
        return sum(session.meter.spent_usd(now) for session in self.sessions)

    def _lease_for(self, offer: Offer | None) -> Lease:
        """Return the lease of the next endpoint, with its new name."""
        ref, teardown = self._named() if offer is None else (self._ref_for(offer), None)
        now = self._clock.time()
        return Lease(
            ref=ref,
            provider=self._connection.provider,
            base_url=self._connection.base_url,
            project=self._plane.project,
            namespace=self._connection.namespace,
            run=self._run.id,
            owner=this_process(),
            opened_at=now,
            heartbeat_at=now,
            output=self._run.output,
            model=self._job.model,
            teardown=teardown or self._job.rental.teardown,
        )

    def _named(self) -> tuple[EndpointRef, Teardown]:
        """Return the existing endpoint that the job names, and its teardown policy."""
        assert self._terms is not None  # noqa: S101 - nothing is rented without a plan
        assert self._terms.existing is not None  # noqa: S101
        ref, teardown = self._terms.existing, self._job.rental.teardown
        if teardown == "delete":
            # An existing endpoint is never deleted, but left as it was found.
            teardown = "keep" if self._plane.observe(ref).phase.may_bill else "stop"
        return ref, teardown

    def _ref_for(self, offer: Offer) -> EndpointRef:
        name = EndpointName(
            namespace=self._connection.namespace,
            job=self._run.job_digest,
            until=int(self._plane.now() + self._lifetime_s()) + len(self.sessions),
        )
        return EndpointRef(
            api=self._job.rental.api,
            name=str(name),
            hardware=offer.hardware,
            price_usd_per_h=offer.price_usd_per_h,
        )

    def _lifetime_s(self) -> float:
        most_s, deadline_s = self._timeouts.lifetime_s, self._job.limits.deadline_s
        if deadline_s is None:
            return most_s
        return min(most_s, deadline_s + self._job.rental.ready_timeout_s + SLACK_S)

    def _spec_for(self, offer: Offer, session: EndpointSession) -> EndpointSpec:
        """Return the endpoint to create for an offer, under the name in the lease."""
        rental, terms = self._job.rental, self._terms
        assert terms is not None  # noqa: S101 - nothing is rented without a plan
        return EndpointSpec(
            name=session.ref.name,
            model=self._job.model,
            hardware=offer.hardware,
            price_usd_per_h=offer.price_usd_per_h,
            model_ref=offer.model_ref,
            config_ref=offer.config_ref,
            replicas=Replicas() if session.calibrating else terms.replicas_on(offer),
            scale_at_in_flight=terms.scale_at(offer),
            regions=rental.placement
            and offer.regions_with_capacity(rental.placement, rental.bounds().minimum),
            inactive_timeout_min=rental.inactive_timeout_min,
            speculative_decoding=rental.speculative_decoding,
        )
