"""The endpoints of one run, one after another: which is next, under what name, on what terms."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from mayfly.endpoints.cleanup import end_leases_endpoint
from mayfly.endpoints.process_liveness import owner_is_alive, this_process
from mayfly.endpoints.session import TEARDOWN_BUDGET_S, EndpointSession
from mayfly.models.endpoint import EndpointName, EndpointRef, EndpointSpec, Replicas, job_digest
from mayfly.models.errors import (
    EndpointLost,
    HardwareUnavailable,
    MayflyError,
    TerminalError,
    TimeToMove,
)
from mayfly.models.job import Job
from mayfly.models.lease import Lease
from mayfly.models.offers import Offer
from mayfly.planning.hardware import Placement
from mayfly.planning.plan import Plan
from mayfly.planning.ranking import scale_at
from mayfly.reporting.progress import Progress
from mayfly.storage.lease_store import LeaseStore, state_home
from mayfly.together.connection import Connection
from mayfly.together.control_plane import ControlPlane

LOSSES_BORNE = 3
"""Endpoints that may be lost under a run before it gives up: a rule against burning money."""

LIFETIME_S = 12 * 3600
"""How far ahead the time in an endpoint's name is at most: past it, any sweep ends the endpoint.

Names cannot be changed, so that there is no renewing: a run that lasts longer moves to another
endpoint. The shorter, the sooner a sweep without the lease ends what a lost machine left (its
billing ends by the inactivity timeout); the longer, the fewer cold starts.
"""

SLACK_S = 3600
"""Beside a deadline and the wait for READY: for teardown, and for clocks that differ."""


class Renting:
    """What a run does to have an endpoint; a part of `mayfly.runs.run.Run`.

    Attributes:
        tenancies: The endpoints that this run had, the last one maybe still standing.
        moves: Why it went on to another endpoint, in words.
    """

    def __init__(
        self,
        job: Job,
        *,
        run: str,
        started_at: float,
        connection: Connection,
        plane: ControlPlane,
        fingerprint: str,
        output: str,
        progress: Progress,
    ) -> None:
        self.id = run
        self.started_at, self.began = started_at, time.monotonic()
        self.job = job
        self.connection = connection
        self.plane = plane
        self.fingerprint = fingerprint
        """SHA-256 (hex) of the request, the input and the provider."""
        self.output = output
        """The output folder's absolute path."""
        self.progress = progress
        self.book = LeaseStore(state_home(os.environ))
        self.plan: Plan | None = None
        self.offer: Offer | None = None
        """What the endpoint in use was rented as; None for one that stood already."""
        self.trying = False
        self.sessions: list[EndpointSession] = []
        self.moves: list[str] = []
        self.last_error: MayflyError | None = None

    @property
    def rows_left(self) -> int:
        """Rows that are still to be answered."""
        raise NotImplementedError

    def reclaim(self) -> None:
        """End what an earlier run into this output left behind; the lock says that it is dead."""
        self.book.check_writable()
        for lease in self.book.of_output(self.output):
            if (lease.provider, lease.project) != (self.connection.provider, self.plane.project):
                continue
            if owner_is_alive(lease.owner) is not True:
                self.progress.say(f"an earlier run left endpoint {lease.name} behind; ending it")
                end_leases_endpoint(
                    lease,
                    self.plane,
                    self.connection,
                    line="next run",
                    book=self.book,
                    budget_s=TEARDOWN_BUDGET_S,
                    on_step=self.progress.say,
                )

    def planned(self, plan: Plan) -> None:
        """Keep the plan, once there is one."""
        self.plan = plan

    def in_turn(self, placement: Placement | None) -> Iterator[Offer | None]:
        """Yield what to rent, as long as rows are left: each offer in turn, by cost.

        An endpoint that was lost under the batch is replaced by one of the same kind. With an
        existing endpoint there is one turn, without an offer.
        """
        losses = 0
        offers: list[Offer | None] = [None] if placement is None else [*placement.eligible]
        while offers and self.rows_left:
            tried = len(self.moves)
            yield offers[0]
            if len(self.moves) == tried:
                return
            lost = isinstance(self.last_error, EndpointLost)
            losses += lost and not isinstance(self.last_error, TimeToMove)
            # Whoever stopped an endpoint that is not ours does not want it started again.
            if not lost or losses > LOSSES_BORNE or placement is None:
                offers.pop(0)
            if not offers:
                raise TerminalError(f"no hardware is left to try: {'; '.join(self.moves)}")

    def move_on(self, error: HardwareUnavailable | EndpointLost) -> None:
        """Take note that this endpoint cannot be used and another has to be found."""
        self.last_error = error
        if self.standing:
            self.session.give_up()
        self.moves.append(str(error))
        self.progress.say(str(error))

    @property
    def age_s(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.began

    @contextmanager
    def trial_of(self, offer: Offer) -> Iterator[None]:
        """Rent one replica, to measure it, for as long as the block lasts."""
        self.progress.say(f"trying {offer.hardware}")
        self.trying = True
        try:
            yield
        finally:
            self.trying = False

    def lease_for(self, offer: Offer | None) -> Lease:
        """Return the lease of the endpoint that is to be used next, with its new name."""
        rental = self.job.rental
        teardown = rental.teardown
        if offer is None:
            assert self.plan is not None  # noqa: S101
            assert self.plan.existing is not None  # noqa: S101
            ref = self.plan.existing
            if teardown == "delete":
                # It is not ours to delete: it is left as it was found.
                teardown = "keep" if self.plane.observe(ref).phase.may_bill else "stop"
        else:
            name = EndpointName(
                namespace=self.connection.namespace,
                job=self.job_digest,
                until=int(self.plane.now() + self._lifetime_s()) + len(self.sessions),
            )
            ref = EndpointRef(
                api=rental.api,
                name=str(name),
                hardware=offer.hardware,
                price_usd_per_h=offer.price_usd_per_h,
            )
        now = time.time()
        return Lease(
            ref=ref,
            provider=self.connection.provider,
            base_url=self.connection.base_url,
            project=self.plane.project,
            namespace=self.connection.namespace,
            run=self.id,
            owner=this_process(),
            opened_at=now,
            heartbeat_at=now,
            output=self.output,
            model=self.job.model,
            teardown=teardown,
        )

    def _lifetime_s(self) -> float:
        deadline_s = self.job.limits.deadline_s
        if deadline_s is None:
            return LIFETIME_S
        return min(LIFETIME_S, deadline_s + self.job.rental.ready_timeout_s + SLACK_S)

    def spec_for(self, offer: Offer, ref: EndpointRef) -> EndpointSpec:
        """Return what to create for an offer, under the name that the lease has."""
        rental = self.job.rental
        replicas = rental.bounds() if self.plan is None else self.plan.replicas_on(offer)
        if self.trying:
            replicas = Replicas()
        return EndpointSpec(
            name=ref.name,
            model=self.job.model,
            hardware=offer.hardware,
            price_usd_per_h=offer.price_usd_per_h,
            model_ref=offer.model_ref,
            config_ref=offer.config_ref,
            replicas=replicas,
            scale_at_in_flight=scale_at(None if self.plan is None else self.plan.quote_of(offer)),
            regions=rental.placement and offer.rooms(rental.placement, rental.bounds().minimum),
            inactive_timeout_min=rental.inactive_timeout_min,
            speculative_decoding=rental.speculative_decoding,
        )

    @property
    def session(self) -> EndpointSession:
        """The endpoint in use."""
        return self.sessions[-1]

    def rent(self, offer: Offer | None) -> EndpointRef:
        """Write the lease, wake the guardian, and create the endpoint or start the one named."""
        self.offer = offer
        if not self.sessions or self.sessions[-1].over:
            lease = self.lease_for(offer)
            session = EndpointSession(
                plane=self.plane,
                book=self.book,
                rental=self.job.rental,
                lease=lease,
                say=self.progress.say,
            )
            self.progress.update(
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
            return session.start(session.ref, self.job.rental.bounds())
        return session.create(self.spec_for(offer, session.ref))

    @property
    def job_digest(self) -> str:
        """10 hex digits for the names of this run's endpoints.

        The run's id is in it: two machines may have the same name and the same folders, and must
        never take each other's endpoint for their own.
        """
        return job_digest(self.fingerprint, socket.gethostname(), self.output, self.id)

    def left_behind(self) -> str | None:
        """Return what a teardown that is broken off now leaves; None when nothing stands."""
        return self.session.left_behind() if self.standing else None

    @property
    def standing(self) -> bool:
        """Whether an endpoint of this run may still stand."""
        return bool(self.sessions) and not self.session.over
