"""The inference of a run: an engine, and the shards that it answers, each in a thread of its own.

Nothing here is waited for before an endpoint is stopped: `answer_all` returns with the last answer,
while the last parts are still being written, and `settle` awaits those once nothing bills.
"""

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from mayfly.endpoints.provisioner import Provisioner
from mayfly.inference.batch_requests import asked_by
from mayfly.inference.circuit_breaker import CircuitBreaker
from mayfly.inference.engine import Engine, EngineSettings, Target
from mayfly.models.durations import span
from mayfly.models.errors import (
    EndpointLost,
    MayflyError,
    RunStalled,
    RunStopped,
    TerminalError,
    TimeToMove,
)
from mayfly.models.rows import Tally
from mayfly.models.shards import Shard
from mayfly.planning.first_limit import FirstLimit, first_limit
from mayfly.planning.preview import JobPreview
from mayfly.planning.workload import past_measurements, prompt_digest
from mayfly.reporting.progress import Progress
from mayfly.runs.calls import DaemonCall
from mayfly.runs.environment import Environment
from mayfly.runs.monitor import Monitor
from mayfly.runs.output import Output
from mayfly.shards.runner import Batch, answer_rows, complete
from mayfly.workers.carrier import Fleet
from mayfly.workers.dask_cluster import DaskCluster
from mayfly.workers.dask_fleet import DaskFleet
from mayfly.workers.pool import Sending, WorkerPool
from mayfly.workers.process import LocalFleet, workers_for
from mayfly.workers.protocol import Assignment

WARM_CONNECTIONS = 16
"""Connections opened while the endpoint starts: enough to begin with, and no burden to anyone."""

SHARDS_AT_ONCE, MOST_SHARDS = 2, 16
"""How many shards run at once for each process that sends, and how many in all: as many as that
where they are too small to fill the endpoint."""

ROWS_PER_SLOT = 4
"""Rows wanted under way for each request in flight: small shards shall not be a cap on those."""

CHECK_EVERY_S = 0.5

PATIENCE_S = 5.0
"""How long the last writing is waited for before that is said."""

CLOSE_S = 10.0
"""How long an engine may take to close; its threads die with the process."""


class ShardFuture(Protocol):
    """A shard under way, as whoever submitted it knows it: a Prefect future, or one of Python's."""

    def add_done_callback(self, fn: Callable[[Any], None], /) -> None:
        """Call a function with the future when it has ended."""

    def result(self) -> Tally:
        """Return the sums of the shard's part, or raise what went wrong."""


class Inference:
    """Answers the rows of a run on the endpoint in use.

    Attributes:
        batch: What the shards have in common, for the engine in use.
    """

    batch: Batch

    def __init__(
        self,
        preview: JobPreview,
        *,
        output: Output,
        provisioner: Provisioner,
        monitor: Monitor,
        environment: Environment,
        inference_url: str,
        progress: Progress,
        cluster: DaskCluster | None = None,
    ) -> None:
        self._cluster = cluster
        self._preview, self._job = preview, preview.job
        self._output, self._provisioner, self._monitor = output, provisioner, monitor
        self._environment, self._inference_url = environment, inference_url
        self._progress, self._timeouts, self._clock = (
            progress,
            environment.timeouts,
            environment.clock,
        )
        self._breaker = CircuitBreaker()
        self._warm: Sending | None = None
        self._engine: Sending | None = None
        self._complete = False
        self._changing = threading.Lock()
        self._expected: set[int] = set()
        self._calls: dict[int, DaemonCall[Tally]] = {}
        self._others: list[DaemonCall[None]] = []
        self._events: SimpleQueue[int | ShardFuture | MayflyError] = SimpleQueue()

    # The engine.

    def warm_up(self) -> None:
        """Start an engine ahead of READY, with some connections to where it will send."""
        if self._warm is None or self._warm.ended:
            self._warm = self._new_engine().open()
        self._warm.warm(WARM_CONNECTIONS)

    def open(self, *, concurrency: int | None = None) -> Sending:
        """Open an engine on the endpoint in use, the warm one if there is one; return it.

        Args:
            concurrency: Requests in flight instead of what the job says; such an engine is always
                a new one.
        """
        session = self._provisioner.session
        warm, self._warm = self._warm, None
        if concurrency is not None and warm is not None:
            warm.stop(EndpointLost("another engine is used"), grace_s=0)
            warm = None
        if warm is None or warm.ended:
            warm = self._new_engine(concurrency).open()
        self._engine, self._complete = warm, False
        self._events = SimpleQueue()
        self.batch = self._output.batch(
            session.ref.inference_name,
            self._breaker,
            cache_keys=self._provisioner.most_replicas > 1,
        )
        self._monitor.watch(warm)
        first = self._first_limit()
        warm.begin_at(first.limit, first.source, ceiling=first.ceiling)
        return warm

    def _first_limit(self) -> FirstLimit:
        """Return where the search for the best number in flight begins on this endpoint."""
        session, environment = self._provisioner.session, self._environment
        return first_limit(
            past_measurements(environment.folders, environment.connection.provider),
            model=self._job.model,
            hardware=session.ref.hardware,
            prompt_key=prompt_digest(self._job),
            replicas=session.started_with,
            per_replica=session.concurrency_per_replica,
        )

    def stop(self, reason: MayflyError, *, grace_s: float) -> None:
        """Send nothing more; requests in flight may end within the grace. Returns at once."""
        for engine in (self._engine, self._warm):
            if engine is not None:
                engine.stop(reason, grace_s=grace_s)

    def stop_sending(self) -> None:
        """Let nothing more be sent: the endpoint is about to be stopped. Returns at once.

        An engine that has answered everything has nothing to send, and shards still use it.
        """
        if not self._complete:
            self.stop(EndpointLost("the endpoint is being torn down"), grace_s=0)

    def close(self) -> None:
        """Close the engine in use; one that hangs is left to itself."""
        engine, self._engine = self._engine, None
        if engine is None:
            return
        engine.stop(EndpointLost("the batch has ended"), grace_s=0)
        closing = DaemonCall(partial(engine.__exit__, None, None, None), name="close engine")
        closing.ended_within(CLOSE_S)
        if (hedges := engine.snapshot().hedges) > 0:
            self._progress.log(f"{hedges:,} of the last requests were sent a second time (hedged)")
        self._monitor.watch(None)

    # The shards.

    def answer_all(self, submit: Callable[[Shard], ShardFuture]) -> None:
        """Answer every row that is left, watching the endpoint meanwhile.

        Returns as soon as the last answer is in its journal; `settle` awaits the parts.

        Args:
            submit: Has `answer` called for a shard, in another thread.

        Raises:
            EndpointLost: The endpoint failed, was stopped or vanished; what was answered is kept.
            RunStopped: A limit of the user's was reached.
            RunStalled: The output takes no answers, or no row comes to be sent.
        """
        engine, left = self.open(), self._output.shards_left()
        under_way: dict[ShardFuture, Shard] = {}
        unanswered: set[int] = set()
        begun = 0
        try:
            while left or unanswered:
                # No more than run at once: each one more would only have to be called back.
                while left and self._wants_more(engine, under_way.values()):
                    shard = left.pop(0)
                    unanswered.add(shard.index)
                    with self._changing:
                        self._expected.add(shard.index)
                    future = submit(shard)
                    under_way[future] = shard
                    future.add_done_callback(self._events.put)
                    begun += 1
                if not left:
                    replicas = self._progress.snapshot().ready_replicas
                    engine.hedge_after(calls=begun, replicas=replicas)
                for event in self._arrived():
                    if isinstance(event, int):
                        unanswered.discard(event)
                    elif isinstance(event, MayflyError):
                        raise event
                    else:
                        shard = under_way.pop(event)
                        event.result()
                        unanswered.discard(shard.index)
                if left or unanswered:
                    self._monitor.check()
            self._complete = True
        except RunStalled as stalled:
            self._progress.log(f"{stalled}; stopping the endpoint, and keeping what was answered")
            # What has come is read, and written, when the disk answers again.
            self.stop(stalled, grace_s=self._timeouts.grace_s)
            raise
        except (RunStopped, TimeToMove) as planned:
            # Nothing is wrong with the endpoint: what it is at now is paid for, and is awaited
            # while it drains.
            self.stop(planned, grace_s=self._timeouts.grace_s)
            raise
        finally:
            self.stop_sending()
            self._provisioner.session.record_settled(engine.snapshot().settled)
            self._monitor.show()

    def answer(self, shard: Shard) -> Tally:
        """Answer the rows of one shard that have no answer yet, then commit its part file.

        Blocks until that is done or has failed, or until `settle` has waited enough for it.
        """
        with self._changing:
            if shard.index not in self._expected:
                raise EndpointLost(f"shard {shard.index} began when the batch had ended")
            call = self._calls.get(shard.index)
            # Never two at once over one journal.
            if call is None or call.ended_within(0):
                work = partial(self._answer, shard, self._engine, self._events)
                call = self._calls[shard.index] = DaemonCall(work, name=f"shard {shard.index}")
        return call.result()

    def start(self, function: Callable[[], None], *, name: str) -> DaemonCall[None]:
        """Start something that uses the engine in a thread of its own; `settle` awaits its end."""
        call = DaemonCall(function, name=name)
        with self._changing:
            self._others.append(call)
        return call

    def settle(self, *, within_s: float | None = None) -> None:
        """Wait until the shards under way have ended, then close the engine.

        Args:
            within_s: How long all of them may take together; unset, `settle_s`.

        Raises:
            MayflyError: After the last answer: what went wrong with a part, or that one was not
                written in time. Otherwise the reason is known, and journals have the answers.
        """
        limit_s = self._timeouts.settle_s if within_s is None else within_s
        end = self._clock.monotonic() + limit_s
        with self._changing:
            calls: list[tuple[str, DaemonCall[Any]]] = [
                *((f"shard {index}", call) for index, call in self._calls.items()),
                *(("the trial", call) for call in self._others),
            ]
            self._calls, self._others = {}, []
            self._expected.clear()
        failed: BaseException | None = None
        hanging: list[str] = []
        said = False
        for name, call in calls:
            if (
                not said
                and not call.ended_within(min(PATIENCE_S, limit_s))
                and limit_s > PATIENCE_S
            ):
                said = True
                self._progress.log(
                    f"waiting up to {span(limit_s)} until {name} is written; nothing bills"
                )
            if not call.ended_within(end - self._clock.monotonic()):
                hanging.append(name)
            elif (error := call.error) is not None:
                failed = failed or error
                # Others may wait for the answers of this one's part.
                self.stop(EndpointLost(f"{name} failed"), grace_s=0)
        complete = self._complete
        self.close()
        if hanging:
            late = TerminalError(
                f"{', '.join(hanging)} did not end within {limit_s:.0f} s after the endpoint was "
                "gone; check the disk of --output and the template, then run the same command "
                "again: the answers that came are in the journal"
            )
            for _, call in calls:
                call.abandon(late)
            raise late
        if complete and failed is not None:
            raise failed

    def _answer(
        self,
        shard: Shard,
        engine: Sending | None,
        events: "SimpleQueue[int | ShardFuture | MayflyError]",
    ) -> Tally:
        assert engine is not None  # noqa: S101 - shards are answered between `open` and `close`
        batch, answered_all = self.batch, partial(events.put, shard.index)
        try:
            if isinstance(engine, WorkerPool):
                send = partial(engine.send, batch, shard)
                tally = complete(batch, shard, engine, send, answered_all)
            else:
                tally = answer_rows(batch, shard, engine, answered_all=answered_all)
            self._output.record_done(shard, tally)
        except (TerminalError, EndpointLost, RunStopped) as error:
            # Directly, and not by way of whoever submitted it: the endpoint bills meanwhile.
            events.put(error)
            raise
        return tally

    def _arrived(self) -> Iterator[int | ShardFuture | MayflyError]:
        """Wait a moment for what comes of shards."""
        with suppress(Empty):
            yield self._events.get(timeout=CHECK_EVERY_S)
            while True:
                yield self._events.get_nowait()

    def _wants_more(self, engine: Sending, under_way: Collection[Shard]) -> bool:
        processes = engine.size if isinstance(engine, WorkerPool) else 1
        if len(under_way) < SHARDS_AT_ONCE * processes:
            return True
        rows = sum(shard.rows for shard in under_way)
        wanted = ROWS_PER_SLOT * engine.snapshot().limit
        return len(under_way) < MOST_SHARDS and rows < wanted

    def _new_engine(self, concurrency: int | None = None) -> Sending:
        limits, renderer = self._job.limits, self._preview.renderer
        target = Target(
            url=f"{self._inference_url}/{renderer.path}",
            headers=self._environment.connection.headers(),
        )
        sent = self._progress.snapshot().all_done
        proven = sent.done > sent.failed
        self._breaker = CircuitBreaker(proven=proven)
        settings = EngineSettings(
            concurrency=concurrency or limits.concurrency,
            row_attempts=limits.row_attempts,
            row_timeout_s=limits.row_timeout_s,
            max_tokens=self._job.sampling.max_tokens,
            # A request with many texts that is refused may have one bad text.
            proven=proven or renderer.embeds,
        )
        # A trial is of few rows, and of the endpoint, not of us.
        calibrating = self._provisioner.session.calibrating
        if self._job.runner == "local" or concurrency is not None or calibrating:
            return Engine(
                target=target, settings=settings, read=renderer.read, log=self._progress.log
            )
        dataset = self._preview.dataset
        return WorkerPool(
            Assignment(
                prompt=self._job.prompt,
                sampling=self._job.sampling,
                columns=dataset.columns,
                requests=asked_by(dataset.requests, self._job.prompt),
                dataset=dataset,
                cache_keys=self._provisioner.most_replicas > 1,
                settings=settings,
                target=target,
                media=self._preview.media,
            ),
            fleet=self._fleet(),
            log=self._progress.log,
        )

    def _fleet(self) -> Fleet:
        shards, worker_log = len(self._output.shards_left()), self._output.paths.workers_log
        local = LocalFleet(workers_for(shards), worker_log)
        return (
            local
            if self._cluster is None
            else DaskFleet(self._cluster, local, shards=shards, log=self._progress.log)
        )
