"""One run of a job: what was asked, what is left, what stands, and what it came to.

The folder's manifest and the lease are the truth about a run; this object is how one process
works through it. Nothing here is Prefect's, so that everything holds without a Prefect server.
"""

import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

import orjson

from mayfly.endpoints.cleanup import read_proofs
from mayfly.inference.circuit_breaker import CircuitBreaker
from mayfly.inference.engine import Engine, EngineSettings, Target
from mayfly.models.errors import EndpointLost, MayflyError, RunStopped
from mayfly.models.job import Job
from mayfly.models.rows import Tally
from mayfly.models.shards import Shard
from mayfly.planning.first_limit import FirstLimit, first_limit
from mayfly.planning.preview import preview_job
from mayfly.planning.workload import ask_digest, taught
from mayfly.reporting import progress as board
from mayfly.reporting.heartbeat import heartbeat
from mayfly.reporting.html import page
from mayfly.reporting.output_stats import read_results
from mayfly.reporting.progress import Progress, Step
from mayfly.reporting.report import figures, run_record
from mayfly.runs.accounting import add_accounts, history_record
from mayfly.runs.monitor import Watching
from mayfly.shards.dedupe import Deduplication, find_duplicates
from mayfly.shards.failed_rows import merge_journals, shards_to_retry, update_dead_letters
from mayfly.shards.runner import Batch, Turns, answer_rows
from mayfly.signals import BROKEN_OFF
from mayfly.storage.atomic import write_atomically
from mayfly.storage.history_store import append_history
from mayfly.storage.output_columns import CHAT
from mayfly.storage.parts import warm_up
from mayfly.storage.run_folder import RunFolder, journalled
from mayfly.together.connection import Connection
from mayfly.together.factory import connect
from mayfly.workers.pool import Sending, WorkerPool, workers_for
from mayfly.workers.process import LocalProcess
from mayfly.workers.protocol import Assignment

GRACE_S = 20.0
"""How long requests in flight may take to end after a limit of the user's was reached."""

WARM_CONNECTIONS = 16
"""Connections opened while the endpoint starts: enough to begin with, and no burden to anyone."""


class Run(Watching):
    """A job on its way through one endpoint after another; made by `begin`.

    `Renting` has the endpoints, `Watching` looks after the batch; here is what was asked, what is
    left and what it came to.
    """

    def __init__(self, job: Job, *, run: str, progress: Progress, stack: ExitStack) -> None:
        started_at = time.time()
        connection = Connection.from_env(os.environ)
        self.look = preview_job(job, connection)
        plane = stack.enter_context(connect(job.rental.api, connection))
        self.folder = stack.enter_context(
            RunFolder.open(job.output, self.look.manifest(started_at), now=started_at)
        )
        self.paths = self.folder.paths
        super().__init__(
            job,
            run=run,
            started_at=started_at,
            connection=connection,
            plane=plane,
            fingerprint=self.look.fingerprint,
            output=str(self.paths.folder.absolute()),
            progress=progress,
        )
        self._breaker, self._reading, self._writing = CircuitBreaker(), Turns(), Turns()
        self._done_now: set[int] = set()
        self._warm: Sending | None = None
        merge_journals(self.look, self.folder)
        self._to_retry: dict[int, int] = {}
        resumed = self.total
        if job.rows.retry_failed:
            self._to_retry = shards_to_retry(self.paths, self.folder.manifest)
            again = sum(self._to_retry.values())
            resumed = resumed._replace(done=resumed.done - again, failed=resumed.failed - again)
        progress.update(rows=self.look.dataset.rows, resumed=resumed)
        self._copying = self._find_copies() if job.rows.dedupe else None

    # What is left.

    def shards_left(self) -> list[Shard]:
        """Return the shards to answer: those not done; with `retry_failed`, those with errors."""
        manifest = self.folder.manifest
        return [
            shard
            for shard in manifest.shards
            if shard.index not in manifest.done
            or (shard.index in self._to_retry and shard.index not in self._done_now)
        ]

    def _find_copies(self) -> Deduplication:
        duplicates = find_duplicates(self.look, self.paths)
        if self._to_retry:
            duplicates.forget_answers()
        return Deduplication(
            duplicates=duplicates,
            paths=self.paths,
            fingerprint=self.fingerprint,
            shards=self.folder.manifest.shards,
            columns=self.look.columns,
            again=frozenset(self._to_retry),
            since=self.started_at,
        )

    @property
    def rows_left(self) -> int:
        """Rows of the shards that are left."""
        return sum(shard.rows for shard in self.shards_left())

    def shard_done(self, shard: Shard, tally: Tally) -> None:
        """Record a shard whose part is committed."""
        self.folder.record_done(shard.index, tally)
        self._done_now.add(shard.index)
        if self._copying is not None:
            copied = self.progress.snapshot().copied + len(self._copying.duplicates.within(shard))
            self.progress.update(copied=copied)
        update_dead_letters(self.look, self.folder, changed=[shard.index])

    # The batch.

    @property
    def engine(self) -> Sending:
        """What answers rows while the batch runs."""
        assert self._engine is not None  # noqa: S101 - inside `sending` only
        return self._engine

    @property
    def batch(self) -> Batch:
        """What the shards have in common, for the endpoint in use."""
        return Batch(
            dataset=self.look.dataset,
            renderer=self.look.renderer,
            paths=self.paths,
            model=self.session.ref.inference_name,
            fingerprint=self.fingerprint,
            retry_failed=self.job.rows.retry_failed,
            checker=self.look.checker,
            columns=self.look.columns,
            breaker=self._breaker,
            deduplication=self._copying,
            reading=self._reading,
            writing=self._writing,
        )

    @property
    def processes(self) -> int:
        """How many processes send."""
        return self.engine.size if isinstance(self.engine, WorkerPool) else 1

    def answer(self, shard: Shard) -> Tally:
        """Answer the rows of one shard that have no answer yet, then commit its part file."""
        engine = self.engine
        if isinstance(engine, WorkerPool):
            return engine.answer(shard, self.session.ref.inference_name)
        return answer_rows(self.batch, shard, engine)

    def warm_up(self) -> None:
        """Start an engine ahead of READY, with some connections to where it will send."""
        if self._warm is None or self._warm.ended:
            self._warm = self._new_engine().open()
        self._warm.warm(WARM_CONNECTIONS)

    @contextmanager
    def sending(self, *, concurrency: int | None = None) -> Iterator[None]:
        """Have an engine on the endpoint for as long as the block lasts.

        Args:
            concurrency: Requests in flight, in the place of what the job says; such an engine is
                always a new one.
        """
        warm, self._warm = self._warm, None
        # A second engine, on the endpoint that replaces one that was lost, counts from nothing.
        self._sent_before = self.progress.snapshot().tally
        if concurrency is not None and warm is not None:
            warm.stop(EndpointLost("another engine is used"), grace_s=0)
        fresh = warm is None or warm.ended or concurrency is not None
        engine = self._new_engine(concurrency) if fresh else warm
        assert engine is not None  # noqa: S101 - one of the two
        try:
            with engine as self._engine:
                first = self._first_limit()
                engine.begin_at(first.limit, first.source, ceiling=first.ceiling)
                yield
        finally:
            replicas = max(self.session.meter.ready, 1)
            self.session.settled_limit = engine.snapshot().settled / replicas
            if (hedges := engine.snapshot().hedges) > 0:
                self.progress.say(f"{hedges:,} of the last rows were asked a second time")
            self.show()
            self._engine = None

    def _first_limit(self) -> FirstLimit:
        """Return where the search for the best number in flight begins on this endpoint."""
        session = self.session
        return first_limit(
            taught(self.connection.provider),
            model=self.job.model,
            hardware=session.ref.hardware,
            prompt_key=ask_digest(self.job),
            replicas=session.started_with,
            per_replica=session.concurrency_per_replica,
        )

    def nothing_follows(self, shards: int) -> None:
        """Tell the engine that no more shards come than so many."""
        replicas = self.progress.snapshot().ready_replicas
        self.engine.nothing_follows(calls=shards, replicas=replicas)

    def _new_engine(self, concurrency: int | None = None) -> Sending:
        limits, renderer = self.job.limits, self.look.renderer
        target = Target(
            url=f"{self.plane.inference_url}/{renderer.path}",
            headers=self.connection.headers(),
        )
        sent = self.progress.snapshot().all_done
        proven = sent.done > sent.failed
        self._breaker = CircuitBreaker(proven=proven)
        settings = EngineSettings(
            concurrency=concurrency or limits.concurrency,
            row_attempts=limits.row_attempts,
            row_timeout_s=limits.row_timeout_s,
            max_tokens=self.job.sampling.max_tokens,
            # A request with many texts that is refused may have one bad text.
            proven=proven or renderer.embeds,
        )
        # A trial is of few rows, and of the endpoint, not of us.
        if self.job.runner == "local" or concurrency is not None or self.trying:
            return Engine(
                target=target, settings=settings, read=renderer.read, say=self.progress.say
            )
        deduplication = self._copying and replace(self._copying, columns=CHAT)
        return WorkerPool(
            Assignment(
                dataset=self.look.dataset,
                prompt=self.job.prompt,
                sampling=self.job.sampling,
                paths=self.paths,
                fingerprint=self.fingerprint,
                retry_failed=self.job.rows.retry_failed,
                deduplication=deduplication,
                settings=settings,
                target=target,
            ),
            workers=workers_for(len(self.shards_left())),
            start=partial(LocalProcess, self.paths.workers_log),
            say=self.progress.say,
        )

    def stop_sending(self) -> None:
        """Let nothing more be sent; rows that are under way stay unanswered."""
        for engine in (self._engine, self._warm):
            if engine is not None:
                engine.stop(EndpointLost("the endpoint is being torn down"), grace_s=0)

    # The end.

    @property
    def total(self) -> Tally:
        """Sums over the whole output, earlier runs included."""
        return self.folder.manifest.tally + journalled(self.paths, self.folder.manifest)

    def close_the_books(self, outcome: str) -> dict[str, Any]:
        """Write `report.json`, `report.html` and the manifest's record of this run."""
        self.show()
        update_dead_letters(self.look, self.folder)
        report = figures(
            run=self.id,
            outcome=outcome,
            job=self.job.model_dump(mode="json"),
            started_at=self.started_at,
            progress=self.progress,
            total=self.total,
            endpoints=[session.as_dict() for session in self.sessions],
            moves=self.moves,
            results=read_results(self.paths, self.folder.manifest, self.look.renderer.needs),
            usd_before=sum(run["cost"]["usd"] for run in self.folder.manifest.runs),
            earlier_teardowns=read_proofs(self.paths),
        )
        add_accounts(report, self.plan, self.sessions)
        self.folder.commit(self.folder.manifest.with_run(run_record(report)))
        write_atomically(self.paths.report, orjson.dumps(report, option=orjson.OPT_INDENT_2))
        write_atomically(self.paths.report_html, page(report).encode())
        if self.sessions:
            tally = self.progress.snapshot().tally
            record = history_record(
                report, self.plan, self.sessions, tally=tally, provider=self.connection.provider
            )
            # A lesson less is no reason to fail a run that is over.
            with suppress(OSError):
                append_history(os.environ, record)
        self.progress.report = report
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
        stack.enter_context(heartbeat(progress, begun.show, begun.paths.heartbeat))
        begun.reclaim()
        if begun.rows_left:
            threading.Thread(target=warm_up, name="warm-up", daemon=True).start()
        try:
            yield begun
        except BaseException as error:
            progress.error = error
            # The report is for people; failing to write it must not hide why the run failed.
            with suppress(Exception):
                begun.close_the_books(_outcome(error))
            raise
        finally:
            progress.enter(Step.DONE)


def _outcome(error: BaseException) -> str:
    if BROKEN_OFF:
        return f"failed: {BROKEN_OFF[-1]}"
    if isinstance(error, RunStopped):
        return "stopped"
    if isinstance(error, MayflyError):
        return f"failed: {error}"
    if isinstance(error, Exception):
        return f"failed: {type(error).__name__}: {error}"
    return "interrupted"
