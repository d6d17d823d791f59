"""The inference of a run: an engine, and the shards that it answers, each in its own thread.

The stop of an endpoint never waits for anything here: `answer_all` returns with the last answer,
while the last parts are still being written, and `settle` awaits them once billing has ended.
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
"""Connections to open while the endpoint starts."""

SHARDS_AT_ONCE, MOST_SHARDS = 2, 16
"""Concurrent shards per sending process, and the total limit for shards that are too small to fill
the endpoint."""

ROWS_PER_SLOT = 4
"""Rows to have in progress per request in flight, so that small shards do not limit concurrency."""

CHECK_EVERY_S = 0.5

NOTICE_AFTER_S = 5.0
"""Seconds of waiting for the last writes before a message is shown."""

CLOSE_S = 10.0
"""How long an engine may take to close; its threads die with the process."""


class ShardFuture(Protocol):
    """A submitted shard: a Prefect future, or a `concurrent.futures.Future`."""

    def add_done_callback(self, fn: Callable[[Any], None], /) -> None:
        """Call a function with the future when it has ended."""

    def result(self) -> Tally:
        """Return the totals of the shard's part, or raise its error."""


class Inference:
    """Answers the rows of a run on the endpoint in use.

    Attributes:
        batch: Settings that the shards share, for the engine in use.
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
        """Start an engine before READY, with some open connections to the inference host."""
        if self._warm is None or self._warm.ended:
            self._warm = self._new_engine().open()
        self._warm.warm(WARM_CONNECTIONS)

    def open(self, *, concurrency: int | None = None) -> Sending:
        """Open an engine on the endpoint in use, the warm one if there is one, and return it.

        Args:
            concurrency: Fixed concurrency, instead of the job's; this always makes a new engine.
        """
        session = self._provisioner.session
        warm, self._warm = self._warm, None
        if concurrency is not None and warm is not None:
            warm.stop(EndpointLost("replaced by another engine"), grace_s=0)
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
        """Return the concurrency limit to start with on this endpoint."""
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
        """Send no further requests; those in flight may end within `grace_s`. Returns at once."""
        for engine in (self._engine, self._warm):
            if engine is not None:
                engine.stop(reason, grace_s=grace_s)

    def stop_sending(self) -> None:
        """Send no further requests: the endpoint is about to be stopped. Returns at once.

        An engine that has answered everything is left open, because shards still use it.
        """
        if not self._complete:
            self.stop(EndpointLost("the endpoint is being torn down"), grace_s=0)

    def close(self) -> None:
        """Close the engine in use; one that hangs is abandoned."""
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
        """Answer every remaining row while monitoring the endpoint.

        Returns as soon as the last answer is in its journal; `settle` awaits the parts.

        Args:
            submit: Calls `answer` for a shard in another thread.

        Raises:
            EndpointLost: The endpoint failed, was stopped or vanished; the answers are kept.
            RunStopped: One of the user's limits was reached.
            RunStalled: The output accepts no answers, or no further rows can be read.
        """
        engine, left = self.open(), self._output.shards_left()
        under_way: dict[ShardFuture, Shard] = {}
        unanswered: set[int] = set()
        begun = 0
        try:
            while left or unanswered:
                # Submit no more than run at once: the others would have to be cancelled.
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
            # The endpoint is healthy: requests in flight are paid for, and are awaited while it
            # drains.
            self.stop(planned, grace_s=self._timeouts.grace_s)
            raise
        finally:
            self.stop_sending()
            self._provisioner.session.record_settled(engine.snapshot().settled)
            self._monitor.show()

    def answer(self, shard: Shard) -> Tally:
        """Answer the rows of one shard that have no answer yet, then commit its part file.

        Blocks until that is done, has failed, or was abandoned by `settle`.
        """
        with self._changing:
            if shard.index not in self._expected:
                raise EndpointLost(f"shard {shard.index} started after the batch had ended")
            call = self._calls.get(shard.index)
            # Two calls must never share a journal.
            if call is None or call.ended_within(0):
                work = partial(self._answer, shard, self._engine, self._events)
                call = self._calls[shard.index] = DaemonCall(work, name=f"shard {shard.index}")
        return call.result()

    def start(self, function: Callable[[], None], *, name: str) -> DaemonCall[None]:
        """Start a function that uses the engine in its own thread; `settle` awaits its end."""
        call = DaemonCall(function, name=name)
        with self._changing:
            self._others.append(call)
        return call

    def settle(self, *, within_s: float | None = None) -> None:
        """Wait until the running shards have ended, then close the engine.

        Args:
            within_s: Time limit for all of them together, in seconds; default `settle_s`.

        Raises:
            MayflyError: All rows were answered, but a part could not be written, or not in time.
                If rows are left, the reason is already known and the journals have the answers.
        """
        limit_s = self._timeouts.settle_s if within_s is None else within_s
        end = self._clock.monotonic() + limit_s
        with self._changing:
            calls: list[tuple[str, DaemonCall[Any]]] = [
                *((f"shard {index}", call) for index, call in self._calls.items()),
                *(("the calibration", call) for call in self._others),
            ]
            self._calls, self._others = {}, []
            self._expected.clear()
        failed: BaseException | None = None
        hanging: list[str] = []
        noticed = False
        for name, call in calls:
            if (
                not noticed
                and not call.ended_within(min(NOTICE_AFTER_S, limit_s))
                and limit_s > NOTICE_AFTER_S
            ):
                noticed = True
                self._progress.log(
                    f"waiting up to {span(limit_s)} until {name} is written; billing has ended"
                )
            if not call.ended_within(end - self._clock.monotonic()):
                hanging.append(name)
            elif (error := call.error) is not None:
                failed = failed or error
                # Other shards may wait for the answers in this one's part.
                self.stop(EndpointLost(f"{name} failed"), grace_s=0)
        complete = self._complete
        self.close()
        if hanging:
            late = TerminalError(
                f"{', '.join(hanging)} did not end within {limit_s:.0f} s after the endpoint was "
                "deleted; check the disk of --output and the template, then run the same command "
                "again: the answers received are in the journal"
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
            # Report it directly, not through the future: the endpoint bills meanwhile.
            events.put(error)
            raise
        return tally

    def _arrived(self) -> Iterator[int | ShardFuture | MayflyError]:
        """Yield the events of shards, waiting briefly for the first."""
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
            # A rejected request with many texts may have one invalid text.
            proven=proven or renderer.embeds,
        )
        # A calibration sends few rows and measures the endpoint, not the client.
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
