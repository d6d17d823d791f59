"""One run of a job, composed of preview, plan, output, provisioner, monitor and inference.

The folder's manifest and the lease are the source of truth about a run; this object is how one
process works through it. Nothing here depends on Prefect, so it works without a Prefect server.
"""

import threading
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from typing import Any

from mayfly.endpoints.cleanup import read_proofs
from mayfly.endpoints.process_liveness import this_process
from mayfly.endpoints.provisioner import Provisioner, RunIdentity
from mayfly.models.errors import (
    EndpointLost,
    HardwareUnavailable,
    MayflyError,
    RunStalled,
    RunStopped,
)
from mayfly.models.job import Job
from mayfly.models.offers import Offer
from mayfly.planning.hardware import Placement
from mayfly.planning.local_files import local_file_of
from mayfly.planning.plan import Plan
from mayfly.planning.preview import JobPreview, preview_job
from mayfly.reporting.environment import describe_environment
from mayfly.reporting.exporters import exporters_for
from mayfly.reporting.heartbeat import heartbeat
from mayfly.reporting.progress import Step
from mayfly.reporting.report import figures
from mayfly.runs.accounting import add_accounts, earlier_runs, history_record
from mayfly.runs.budget import check_budget
from mayfly.runs.calls import DaemonCall
from mayfly.runs.environment import Environment
from mayfly.runs.handle import RunHandle
from mayfly.runs.inference import Inference
from mayfly.runs.monitor import Monitor
from mayfly.runs.output import Output
from mayfly.runs.stalls import StallDetector
from mayfly.signals import defer_signals
from mayfly.storage.history_store import append_history, read_history
from mayfly.storage.output_location import shown_output
from mayfly.storage.parts import warm_up
from mayfly.storage.run_folder import RunFolder
from mayfly.storage.run_registry import RunEntry, register
from mayfly.together.control_plane import ControlPlane
from mayfly.together.factory import connect
from mayfly.workers.dask_cluster import DaskCluster


class Run:
    """A run of a job on one endpoint after another; created by `begin`.

    Attributes:
        handle: The caller's handle.
        preview: The preview of the job.
        plan: The plan; None until there is one.
        plane: The control plane of the project.
        output: The output folder, with its remaining and finished rows.
        provisioner: Creates the endpoints, one at a time.
        monitor: Enforces the user's limits.
        inference: Answers the rows.
    """

    def __init__(
        self,
        preview: JobPreview,
        folder: RunFolder,
        plane: ControlPlane,
        *,
        environment: Environment,
        handle: RunHandle,
        run: str,
        started_at: float,
        cluster: DaskCluster | None = None,
    ) -> None:
        progress, job = handle.progress, preview.job
        timeouts, clock = environment.timeouts, environment.clock
        self.handle, self.progress = handle, progress
        self.environment, self.timeouts = environment, timeouts
        self.preview, self.job, self.plane = preview, job, plane
        self.plan: Plan | None = None
        self.started_at = started_at
        self.identity = RunIdentity(
            id=run, fingerprint=preview.fingerprint, output=str(folder.paths.folder.absolute())
        )
        self.output = Output(preview, folder, progress=progress, started_at=started_at)
        self.provisioner = Provisioner(
            job,
            run=self.identity,
            connection=environment.connection,
            plane=plane,
            store=environment.leases,
            progress=progress,
            timeouts=timeouts,
            clock=clock,
        )
        self.monitor = Monitor(
            job,
            provisioner=self.provisioner,
            plane=plane,
            progress=progress,
            timeouts=timeouts,
            clock=clock,
            stalls=StallDetector(
                self.output.writes,
                lambda: self.output.reading.moves,
                output=shown_output(self.identity.output),
                timeouts=timeouts,
                clock=clock,
            ),
        )
        self.inference = Inference(
            preview,
            output=self.output,
            provisioner=self.provisioner,
            monitor=self.monitor,
            environment=environment,
            inference_url=plane.inference_url,
            progress=progress,
            cluster=cluster,
        )
        if handle.plan is not None:
            self.use_plan(handle.plan)

    def use_plan(self, plan: Plan) -> None:
        """Use this plan from now on.

        Raises:
            BadRequest: The plan exceeds the monthly budget, and nothing was created yet.
        """
        if not self.provisioner.sessions:
            check_budget(plan, self.environment)
        self.plan = plan
        self.provisioner.use_terms(plan)
        self.monitor.use_plan(plan)

    def in_turn(self, placement: Placement | None) -> Iterator[Offer | None]:
        """Yield the offers to use while rows are left; see `Provisioner.in_turn`."""
        offers = None if placement is None else placement.eligible
        return self.provisioner.in_turn(offers, lambda: self.output.rows_left)

    def move_on(self, error: HardwareUnavailable | EndpointLost) -> None:
        """Record that the current endpoint is unusable and another is needed."""
        self.provisioner.move_on(error)

    def stop(self) -> None:
        """Send no further requests, and send the stop of the endpoint before anything else.

        It waits for that one call only: not for a shard, a disk, a worker or Prefect.
        """
        self.inference.stop_sending()
        self.provisioner.request_stop()

    def signals_deferred(self) -> AbstractContextManager[None]:
        """Defer signals while the endpoint is torn down; see `defer_signals`."""
        return defer_signals(
            self.progress.log,
            self.provisioner.remaining_endpoint,
            self.handle.note_teardown_aborted,
        )

    def write_report(self, outcome: str) -> dict[str, Any]:
        """Write `report.json`, `report.html` and the records of this run; return the figures.

        Args:
            outcome: `complete`, `errors`, `stopped`, `interrupted` or `failed: why`.
        """
        self.monitor.show()
        sessions, connection = self.provisioner.sessions, self.environment.connection
        report = figures(
            run=self.identity.id,
            outcome=outcome,
            job=self.job.model_dump(mode="json"),
            started_at=self.started_at,
            progress=self.progress,
            total=self.output.total,
            endpoints=[session.as_dict() for session in sessions],
            moves=self.provisioner.moves,
            results=self.output.read_results(),
            usd_before=self.output.usd_before,
            earlier_teardowns=read_proofs(self.output.paths),
            environment=describe_environment(self.job.input),
            earlier_runs=earlier_runs(
                read_history(self.environment.folders), self.preview, run=self.identity.id
            ),
        )
        add_accounts(report, self.plan, sessions)
        self.output.write_report(report)
        if sessions:
            tally = self.progress.snapshot().tally
            record = history_record(
                report,
                self.plan,
                sessions,
                tally=tally,
                provider=connection.provider,
                fingerprint=self.identity.fingerprint,
            )
            # A lost measurement must not fail a finished run.
            with suppress(OSError):
                append_history(self.environment.folders, record)
        self.progress.report = report
        return report

    def wind_up(self, error: BaseException) -> None:
        """Keep what can be kept of a run that has failed: answers first, then the report.

        All of it is for people: neither a failure nor a disk that hangs may hide why the run
        failed, or hold up its end.
        """
        times = self.timeouts
        within_s = times.abandon_s
        if self.handle.teardown_aborted:
            within_s = 0.0
        elif isinstance(error, RunStalled):
            # Answers are in memory, and nothing bills: the disk may come back.
            within_s = times.settle_s
        with suppress(Exception):
            self.inference.settle(within_s=within_s)
        outcome = _outcome(error, self.handle)
        DaemonCall(partial(self.write_report, outcome), name="report").ended_within(times.abandon_s)


@contextmanager
def begin(job: Job, handle: RunHandle, *, run: str = "") -> Iterator[Run]:
    """Preview the job, claim the output folder, and write a report however the run ends.

    Args:
        handle: The caller's handle, with the confirmed plan if there is one.
        run: The run's id, by which its lease is found; generated when empty.

    Raises:
        BadRequest: The request is invalid; nothing was created or written.
    """
    environment, progress = handle.environment, handle.progress
    assert environment is not None  # noqa: S101 - the caller has read it
    progress.begin()
    connection, started_at = environment.connection, environment.clock.time()
    # Without a confirmed plan the job comes from a Prefect form.
    preview = handle.preview_of(job) or preview_job(job, connection.provider, anywhere=False)
    with ExitStack() as stack:
        stack.callback(preview.dataset.close)
        plane = stack.enter_context(connect(job.rental.api, connection, log=progress.log))
        cluster = None
        if job.dask is not None and job.runner == "dask":
            # Before anything is created: a cluster that cannot work makes the request invalid.
            cluster = stack.enter_context(
                DaskCluster(
                    job.dask,
                    preview.dataset,
                    connection=connection,
                    project=plane.project,
                    file=local_file_of(preview),
                    log=progress.log,
                )
            )
        folder = stack.enter_context(
            RunFolder.open(
                job.output, preview.manifest(started_at), now=started_at, log=progress.log
            )
        )
        begun = Run(
            preview,
            folder,
            plane,
            environment=environment,
            handle=handle,
            run=run or uuid.uuid4().hex,
            started_at=started_at,
            cluster=cluster,
        )
        exporters = exporters_for(
            job,
            progress,
            run=begun.identity.id,
            started_at=started_at,
            file=folder.paths.metrics,
            telemetry=environment.telemetry,
        )
        stack.enter_context(
            heartbeat(progress, begun.monitor.show, folder.paths.heartbeat, exporters)
        )
        register(
            environment.home,
            RunEntry(
                id=begun.identity.id,
                output=begun.identity.output,
                input=str(preview.dataset.describe()["uri"]),
                model=job.model,
                started_at=started_at,
                owner=this_process(),
            ),
        )
        begun.provisioner.reclaim()
        if begun.output.rows_left:
            threading.Thread(target=warm_up, name="warm-up", daemon=True).start()
        try:
            yield begun
        except BaseException as error:
            progress.error = error
            begun.wind_up(error)
            raise
        finally:
            progress.enter(Step.DONE)


def _outcome(error: BaseException, handle: RunHandle) -> str:
    if handle.teardown_aborted:
        return f"failed: {handle.teardown_aborted}"
    if isinstance(error, RunStopped):
        return "stopped"
    if isinstance(error, MayflyError):
        return f"failed: {error}"
    if isinstance(error, Exception):
        return f"failed: {type(error).__name__}: {error}"
    return "interrupted"
