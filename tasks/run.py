"""One run of a job: what was asked, what is left, what stands, and what it came to.

The folder's manifest and the lease are the truth about a run; this object is how one process
works through it. Nothing here is Prefect's, so that everything holds without a Prefect server.
"""

import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import orjson

from tasks import progress as board
from tasks.answering import Batch
from tasks.cloud.connection import Connection, connect
from tasks.core.endpoint import EndpointName, EndpointRef, EndpointSpec, job_digest
from tasks.core.errors import (
    EndpointLost,
    HardwareUnavailable,
    MayflyError,
    RunStopped,
    TerminalError,
)
from tasks.core.job import Job
from tasks.core.lease import Lease
from tasks.core.placement import Offer, Placement
from tasks.core.rows import Tally
from tasks.core.sharding import Shard
from tasks.ending import end_on
from tasks.figures import figures, page, run_record
from tasks.inference.engine import Engine, EngineSettings, Target
from tasks.liveness import owner_is_alive
from tasks.planning import Plan, look_first
from tasks.progress import Progress, Step
from tasks.storage.atomic import write_atomically
from tasks.storage.lease_file import LeaseBook, state_home
from tasks.storage.run_folder import RunFolder, journalled
from tasks.tenancy import TEARDOWN_BUDGET_S, Tenancy, this_process

LOSSES_BORNE = 3
"""Endpoints that may be lost under a run before it gives up: a rule against burning money."""

LIFETIME_S = 24 * 3600
"""How far ahead the time in an endpoint's name is: past it, any sweep ends the endpoint."""

OBSERVE_EVERY_S = 10.0
"""How often the API is asked about the endpoint while rows are being answered."""

GRACE_S = 20.0
"""How long requests in flight may take to end after a limit of the user's was reached."""


class Run:
    """A job on its way through one endpoint after another; made by `begin`.

    Attributes:
        shards: All shards of the dataset, in order.
        tenancies: The endpoints that this run had, the last one maybe still standing.
        moves: Why it went on to another endpoint, in words.
    """

    def __init__(self, job: Job, *, run: str, progress: Progress, stack: ExitStack) -> None:
        self.id = run
        self.job = job
        self.progress = progress
        self.started_at, self._began = time.time(), time.monotonic()
        self.connection = Connection.from_env(os.environ)
        self.look = look_first(job, self.connection)
        self.plane = stack.enter_context(connect(job.rental.api, self.connection))
        self.folder = stack.enter_context(
            RunFolder.open(job.output, self.look.manifest(self.started_at), now=self.started_at)
        )
        self.paths = self.folder.paths
        self.book = LeaseBook(state_home(os.environ))
        self.plan: Plan | None = None
        self.tenancies: list[Tenancy] = []
        self.moves: list[str] = []
        self.last_error: MayflyError | None = None
        self._done_now: set[int] = set()
        self._failed_before = {
            index: tally.failed
            for index, tally in self.folder.manifest.done.items()
            if job.rows.retry_failed
        }
        self._engine: Engine | None = None
        self._observed_at = 0.0
        progress.update(rows=self.look.dataset.rows, resumed=self.total)

    # What is left.

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the request, the input and the provider."""
        return self.look.fingerprint

    def shards_left(self) -> list[Shard]:
        """Return the shards to answer: those not done; with `retry_failed`, those with errors."""
        manifest = self.folder.manifest
        return [
            shard
            for shard in manifest.shards
            if shard.index not in manifest.done
            or (self._failed_before.get(shard.index, 0) and shard.index not in self._done_now)
        ]

    @property
    def rows_left(self) -> int:
        """Rows of the shards that are left."""
        return sum(shard.rows for shard in self.shards_left())

    def shard_done(self, shard: Shard, tally: Tally) -> None:
        """Record a shard whose part is committed."""
        self.folder.record_done(shard.index, tally)
        self._done_now.add(shard.index)

    # The endpoint.

    def reclaim(self) -> None:
        """End what an earlier run into this output left behind; the lock says that it is dead."""
        for lease in self.book.list().open:
            if lease.output == self.output and owner_is_alive(lease.owner) is not True:
                self.progress.say(f"an earlier run left endpoint {lease.name} behind; ending it")
                end_on(
                    self.plane,
                    lease,
                    line="finally",
                    book=self.book,
                    budget_s=TEARDOWN_BUDGET_S,
                    on_step=self.progress.say,
                )

    @property
    def output(self) -> str:
        """The output folder's absolute path."""
        return str(self.paths.folder.absolute())

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
            losses += isinstance(self.last_error, EndpointLost)
            if not isinstance(self.last_error, EndpointLost) or losses > LOSSES_BORNE:
                offers.pop(0)
            if not offers:
                raise TerminalError(f"no hardware is left to try: {'; '.join(self.moves)}")

    def move_on(self, error: HardwareUnavailable | EndpointLost) -> None:
        """Take note that this endpoint cannot be used and another has to be found."""
        self.last_error = error
        self.moves.append(str(error))
        self.progress.say(str(error))

    def lease_for(self, offer: Offer | None) -> Lease:
        """Return the lease of the endpoint that is to be used next, with its new name."""
        rental = self.job.rental
        if offer is None:
            assert self.plan is not None  # noqa: S101
            assert self.plan.existing is not None  # noqa: S101
            ref = self.plan.existing
        else:
            name = EndpointName(
                namespace=self.connection.namespace,
                job=self.job_digest,
                until=int(time.time()) + LIFETIME_S + len(self.tenancies),
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
            teardown=rental.teardown,
        )

    def spec_for(self, offer: Offer, ref: EndpointRef) -> EndpointSpec:
        """Return what to create for an offer, under the name that the lease has."""
        rental = self.job.rental
        return EndpointSpec(
            name=ref.name,
            model=self.job.model,
            hardware=offer.hardware,
            price_usd_per_h=offer.price_usd_per_h,
            model_ref=offer.model_ref,
            config_ref=offer.config_ref,
            replicas=rental.bounds(),
            regions=rental.regions and offer.rooms(rental.regions, rental.bounds().minimum),
        )

    @property
    def tenancy(self) -> Tenancy:
        """The endpoint in use."""
        return self.tenancies[-1]

    def rent(self, offer: Offer | None) -> EndpointRef:
        """Write the lease, wake the guardian, and create the endpoint or start the one named."""
        if not self.tenancies or self.tenancies[-1].over:
            lease = self.lease_for(offer)
            tenancy = Tenancy(
                plane=self.plane,
                book=self.book,
                rental=self.job.rental,
                lease=lease,
                say=self.progress.say,
            )
            self.tenancies.append(tenancy)
            tenancy.open()
        tenancy = self.tenancy
        if offer is None:
            return tenancy.start(tenancy.ref, self.job.rental.bounds())
        self.progress.update(hardware=offer.hardware, price_usd_per_h=offer.price_usd_per_h)
        return tenancy.create(self.spec_for(offer, tenancy.ref))

    @property
    def job_digest(self) -> str:
        """10 hex digits for the names of this job's endpoints: this output, on this machine."""
        return job_digest(self.fingerprint, socket.gethostname(), self.output)

    # The batch.

    @property
    def engine(self) -> Engine:
        """The engine that answers rows while the batch runs."""
        assert self._engine is not None  # noqa: S101 - inside `sending` only
        return self._engine

    @property
    def batch(self) -> Batch:
        """What the shards have in common, for the endpoint in use."""
        return Batch(
            dataset=self.look.dataset,
            renderer=self.look.renderer,
            paths=self.paths,
            model=self.tenancy.ref.inference_name,
            fingerprint=self.fingerprint,
            retry_failed=self.job.rows.retry_failed,
        )

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Open the engine on the endpoint for as long as the block lasts."""
        limits = self.job.limits
        target = Target(
            url=f"{self.connection.inference_url}/chat/completions",
            headers=self.connection.headers(),
        )
        settings = EngineSettings(
            concurrency=limits.concurrency,
            first_limit=self.tenancy.first_limit,
            row_attempts=limits.row_attempts,
        )
        with Engine(target=target, settings=settings) as self._engine:
            yield

    def stop_sending(self) -> None:
        """Let nothing more be sent; rows that are under way stay unanswered."""
        if self._engine is not None:
            self._engine.stop(EndpointLost("the endpoint is being torn down"), grace_s=0)

    def look_after(self) -> None:
        """Watch engine, endpoint, guardian and limits; called about once a second.

        Raises:
            EndpointLost: The endpoint failed, was stopped or is gone.
            RunStopped: The cost or the time that the user allows is used up.
        """
        now = time.monotonic()
        self.show()
        if now - self._observed_at >= OBSERVE_EVERY_S:
            self._observed_at = now
            self.tenancy.guard()
            if observation := self.tenancy.look():
                self.progress.update(ready_replicas=observation.ready_replicas or 0)
        limits = self.job.limits
        if limits.deadline_s is not None and now - self._began >= limits.deadline_s:
            raise RunStopped(f"stopped at --deadline, {limits.deadline_s:.0f} s after the start")
        # What is committed to: the minute that has begun, and one that the teardown may begin.
        committed_usd = self.tenancy.meter.price_usd_per_h / 60
        if (
            limits.max_cost_usd is not None
            and self.spent_usd() + committed_usd > limits.max_cost_usd
        ):
            raise RunStopped(f"stopped at --max-cost, ${self.spent_usd():.2f} spent")

    def show(self) -> None:
        """Bring the progress up to date with engine and meter."""
        if self._engine is not None:
            look = self._engine.snapshot()
            self.progress.update(tally=look.tally, in_flight=look.in_flight, limit=look.limit)
        self.progress.update(spent_usd=self.spent_usd())

    def spent_usd(self) -> float:
        """Return dollars billed to this run so far, by the meter's assumption."""
        now = time.monotonic()
        return sum(tenancy.meter.spent_usd(now) for tenancy in self.tenancies)

    # The end.

    @property
    def standing(self) -> bool:
        """Whether an endpoint of this run may still stand."""
        return bool(self.tenancies) and not self.tenancy.over

    @property
    def total(self) -> Tally:
        """Sums over the whole output, earlier runs included."""
        return self.folder.manifest.tally + journalled(self.paths, self.folder.manifest)

    def close_the_books(self, outcome: str) -> dict[str, Any]:
        """Write `report.json`, `report.html` and the manifest's record of this run."""
        self.show()
        report = figures(
            run=self.id,
            outcome=outcome,
            job=self.job.model_dump(mode="json"),
            started_at=self.started_at,
            snapshot=self.progress.snapshot(),
            total=self.total,
            endpoints=[tenancy.as_dict() for tenancy in self.tenancies],
            moves=self.moves,
        )
        write_atomically(self.paths.report, orjson.dumps(report, option=orjson.OPT_INDENT_2))
        write_atomically(self.paths.report_html, page(report).encode())
        self.folder.commit(self.folder.manifest.with_run(run_record(report)))
        return report


@contextmanager
def begin(job: Job, *, run: str = "") -> Iterator[Run]:
    """Look first, claim the output folder, and keep a record of the run however it ends.

    Args:
        run: The run's id, by which others find its lease; one is made up when there is none.

    Raises:
        BadRequest: Something is wrong with the request; nothing was created or written.
    """
    progress = board.begin()
    with ExitStack() as stack:
        begun = Run(job, run=run or uuid.uuid4().hex, progress=progress, stack=stack)
        begun.reclaim()
        try:
            yield begun
        except BaseException as error:
            # The report is for people; failing to write it must not hide why the run failed.
            with suppress(Exception):
                begun.close_the_books(_outcome(error))
            raise
        finally:
            progress.enter(Step.DONE)


def _outcome(error: BaseException) -> str:
    if isinstance(error, RunStopped):
        return "stopped"
    if isinstance(error, MayflyError):
        return f"failed: {error}"
    if isinstance(error, Exception):
        return f"failed: {type(error).__name__}: {error}"
    return "interrupted"
