"""The worker pool: processes that send a run's rows under one concurrency limit.

It is used in place of an engine. One thread owns all state of the pool; other threads queue calls
for it. Another one, the `Receiver`, reads from the workers and writes their answers. No send waits:
a worker that reads no more, such as a stopped process, delays no other. One limiter learns from the
samples of all workers; `mayfly.workers.slots` distributes its limit.
"""

import selectors
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from functools import partial
from typing import Self

from mayfly.inference.concurrency import CEILING, Source
from mayfly.inference.engine import Engine, Snapshot, limiter_for
from mayfly.inference.throttled_log import ThrottledLog
from mayfly.models.errors import EndpointLost, MayflyError, TerminalError, as_mayfly_error
from mayfly.models.shards import Shard
from mayfly.shards.runner import Batch, periodic_sync
from mayfly.storage.dataset import Chunk
from mayfly.storage.journal import Journal
from mayfly.workers.call_queue import Call, CallQueue
from mayfly.workers.carrier import Carrier, Fleet
from mayfly.workers.handle import ShardTask, Unsynced, WorkerHandle, WorkerLost
from mayfly.workers.protocol import (
    Alive,
    Assignment,
    Command,
    Ended,
    NothingFollows,
    Proven,
    Report,
    Rows,
    RowsNeeded,
    Stop,
    Take,
    Warm,
    Written,
)
from mayfly.workers.receiver import Receiver
from mayfly.workers.slots import LIFTED, OVERLOAD, Sample, SlotShares
from mayfly.workers.totals import Totals

MOST_DEATHS = 3
"""Workers that may die with a shard before the run fails: the shard may be what kills them."""

ALIVE_EVERY_S = 1.0

START_TIMES = 4
"""A starting worker may be silent for this multiple of the usual time."""

LATEST_S = 10.0
"""Seconds after the grace period in which a worker must end its shards before it is killed."""


class WorkerPool:
    """Sends shards for many threads; use it as a context manager."""

    def __init__(
        self,
        assignment: Assignment,
        *,
        fleet: Fleet,
        log: Callable[[str], None],
        release_s: float = LATEST_S,
    ) -> None:
        """Prepare the pool; nothing runs before the context is entered.

        Args:
            fleet: Starts workers.
            log: Receives messages for the user.
            release_s: How long after the grace a worker may take to release its shards, in
                seconds; then it is killed.
        """
        self._assignment, self._fleet, self._log = assignment, fleet, log
        self._notes = ThrottledLog(log, time.monotonic)
        self._limiter = limiter_for(assignment.settings)
        self._shares = SlotShares()
        self._workers: dict[int, WorkerHandle] = {}
        self._reserved: dict[int, float] = {}
        self._joined = self._coming = 0
        self._unassigned: list[ShardTask] = []
        self._alive_at = 0.0
        self._totals = Totals()
        self._proven = assignment.settings.proven
        self._last: tuple[int, int] | None = None
        self._given = 0
        self._reason: MayflyError | None = None
        self._kill_at: float | None = None
        self._release_s = release_s
        self._calls, self._opened, self._changed = CallQueue(), False, True
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._calls, selectors.EVENT_READ)
        self._snapshot = self._totals.snapshot([], self._limiter)
        self._receiver = Receiver(
            self._totals,
            arrived=partial(self._calls.put, self._arrived),
            lost=partial(self._calls.put, self._worker_lost),
            unwritable=self._unwritable,
            failed=partial(self._calls.put, self._fail),
        )
        self._thread = threading.Thread(target=self._run, name="worker pool", daemon=True)

    def open(self) -> Self:
        """Start the workers; a second call does nothing."""
        if not self._opened:
            self._opened = True
            self._thread.start()
        return self

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *_error: object) -> None:
        self.stop(EndpointLost("the worker pool was closed"), grace_s=0)
        self._thread.join()

    # For other threads.

    @property
    def size(self) -> int:
        """Number of workers, including those that are starting."""
        return max(1, len(self._workers) + self._coming or self._fleet.size)

    def send(self, batch: Batch, shard: Shard, answered: frozenset[int], journal: Journal) -> None:
        """Send the rows of a shard, except those already answered; block until all are done.

        When it returns, all answers are durable in the journal.

        Raises:
            MayflyError: The reason given to `stop`, or the error of the shard.
        """
        deaths, first = 0, journal.end
        with periodic_sync(journal, self):
            while True:
                command = Take(shard, batch.model, journal.seed, answered)
                task = ShardTask(command, journal, again=deaths > 0)
                if not self._calls.put(self._accept, task):
                    self.check()
                lost = self._follow(task, batch)
                if lost is None:
                    break
                deaths += 1
                if deaths == MOST_DEATHS:
                    raise TerminalError(
                        f"shard {shard.index}: {deaths} workers died while sending it, the last "
                        f"was {lost.reason}; if memory is short, run again with --runner local, or "
                        "with fewer --shard-rows and another --output"
                    )
                answered |= journal.rows_since(first)
        journal.commit()

    def _follow(self, task: ShardTask, batch: Batch) -> WorkerLost | None:
        """Send the rows of a shard until it has ended or its worker was lost."""
        shard = task.command.shard
        with closing(_chunks(batch, shard)) as chunks:
            while True:
                match task.events.get():
                    case RowsNeeded():
                        batch.reading.moves += 1
                        task.send(Rows.read(shard.index, chunks))
                    case Unsynced(requests):
                        try:
                            task.journal.commit()
                        except Exception as error:  # noqa: BLE001 - it becomes the next event
                            self._unwritable(task, error)
                        else:
                            task.send(Written(shard.index, requests))
                    case Ended(error=None):
                        return None
                    case Ended(error=error):
                        assert error is not None  # noqa: S101
                        raise error
                    case WorkerLost() as lost:
                        return lost

    def _unwritable(self, task: ShardTask, error: Exception) -> None:
        """Stop, because answers that cannot be stored should not be paid for."""
        index = task.command.shard.index
        if task.worker is not None:
            task.worker.tasks.pop(index, None)
        reason = as_mayfly_error(error, f"journal of shard {index}")
        self.stop(reason, grace_s=0)
        task.events.put(Ended(index, error=reason))

    def stop(self, reason: MayflyError, *, grace_s: float) -> None:
        """Send no further requests; those in flight may end within `grace_s` seconds.

        Returns at once; every `send` then raises the reason of the first `stop`.
        """
        self._calls.put(self._begin_stop, reason, grace_s)

    @property
    def ended(self) -> bool:
        """Whether the pool can send nothing more."""
        return self._calls.closed or self._reason is not None

    def check(self) -> None:
        """Raise the error that ended the pool, if it has ended."""
        if self.ended:
            raise self._reason or EndpointLost("the worker pool was closed")

    def begin_at(self, limit: int, source: Source = "guess", *, ceiling: int = CEILING) -> None:
        """Start the search for a limit at `limit`; ignored once the search has started.

        Args:
            source: Source of the number.
            ceiling: The largest limit to try.
        """
        self._calls.put(partial(self._limiter.begin_at, limit, source, ceiling=ceiling))

    def scaled(self, factor: float) -> None:
        """Scale the limit after the number of replicas changed by `factor`."""
        self._calls.put(self._limiter.scaled, factor)

    def warm(self, connections: int) -> None:
        """Open connections ahead of the first request."""
        self._calls.put(lambda: self._send_all(Warm(-(-connections // self.size))))

    def hedge_after(self, *, calls: int, replicas: int) -> None:
        """Announce that `send` will be called no more than `calls` times in total."""
        self._calls.put(self._hedge_after, calls, replicas)

    def snapshot(self) -> Snapshot:
        """Return the current state of the pool."""
        return self._snapshot

    # In the pool's thread.

    def _run(self) -> None:
        try:
            calls = (self._add_worker, self._fail, self._one_fewer)
            self._receiver.open()
            self._coming = self._fleet.open(*(partial(self._calls.put, one) for one in calls))
            while not self._over():
                for key, _ in self._selector.select(ALIVE_EVERY_S):
                    if key.data is None:
                        self._calls.clear()
                    else:
                        self._flush(key.data)
                for function, args in self._calls.drain():
                    self._changed = True
                    function(*args)
                self._tick()
                if self._changed:
                    self._share_out()
        except Exception as error:  # noqa: BLE001 - any error ends the pool
            self._reason = self._reason or as_mayfly_error(error, "the worker pool")
        finally:
            self._close()

    def _over(self) -> bool:
        """Return whether the pool was stopped, and its shards have ended or their time is up."""
        if self._kill_at is None:
            return False
        busy = any(worker.tasks for worker in self._workers.values())
        return not busy or time.monotonic() > self._kill_at

    def _close(self) -> None:
        self._selector.close()
        undone = self._calls.close()
        # Close all channels first, so that the workers end at the same time.
        for worker in self._workers.values():
            worker.channel.close()
        late = self._kill_at is not None and time.monotonic() > self._kill_at
        try:
            for worker in self._workers.values():
                # One that has not ended its shards may be stopped: waiting for it is in vain.
                worker.carrier.end(hung=late and bool(worker.tasks))
        finally:
            self._end_tasks(undone)
        for function, args in undone:
            if function == self._add_worker:
                args[0].end()
        for worker in self._workers.values():
            self._totals.keep(worker.report)
        self._workers.clear()
        self._publish()
        self._fleet.close()

    def _end_tasks(self, undone: list[Call]) -> None:
        reason = self._reason or EndpointLost("the worker pool was closed")
        left = [task for worker in self._workers.values() for task in [*worker.tasks.values()]]
        left += self._unassigned
        left += [args[0] for function, args in undone if function == self._accept]

        def end() -> None:
            for task in left:
                task.events.put(Ended(task.command.shard.index, error=reason))

        # The thread of a shard closes its journal, which must not be written after that.
        self._receiver.close(end)

    def _fail(self, error: MayflyError) -> None:
        raise error

    def _add_worker(self, carrier: Carrier) -> None:
        self._joined += 1
        stuck = partial(self._calls.put, self._flush)
        worker = self._workers[self._joined] = WorkerHandle(self._joined, carrier, stuck)
        self._receiver.read(worker)
        worker.send(carrier.brief(self._assignment))
        if self._proven:
            worker.send(Proven())
        self._one_fewer()

    def _one_fewer(self) -> None:
        """Expect one worker less; assign the waiting shards when no more are expected."""
        self._coming = max(0, self._coming - 1)
        if not self._coming:
            waiting, self._unassigned = self._unassigned, []
            for task in waiting:
                self._assign(task)

    def _accept(self, task: ShardTask) -> None:
        if self._reason is not None:
            task.events.put(Ended(task.command.shard.index, error=self._reason))
            return
        self._given += not task.again
        self._assign(task)

    def _assign(self, task: ShardTask) -> None:
        if self._coming or not self._workers:
            # Distributed evenly once the starting workers have joined.
            self._unassigned.append(task)
            return
        worker = min(self._workers.values(), key=lambda one: (len(one.tasks), one.number))
        worker.tasks[task.command.shard.index] = task
        task.worker = worker
        worker.given += 1
        worker.send(task.command)
        self._send_the_last()

    def _hedge_after(self, calls: int, replicas: int) -> None:
        self._last = calls, replicas
        self._send_the_last()

    def _send_the_last(self) -> None:
        """Send `NothingFollows` once all shards have been assigned."""
        if self._last is not None and self._given >= self._last[0]:
            for worker in self._workers.values():
                worker.send(NothingFollows(worker.given, self._last[1]))

    def _send_all(self, command: Command) -> None:
        for worker in self._workers.values():
            worker.send(command)

    def _tick(self) -> None:
        """Send heartbeats, replace workers that send none, and free reserved slots."""
        now = time.monotonic()
        if now - self._alive_at >= ALIVE_EVERY_S:
            self._alive_at = now
            self._send_all(Alive())
        for worker in self._workers.values():
            # A starting worker loads its modules first.
            factor = 1 if worker.report is not None else START_TIMES
            silent_s = self._receiver.looked_at - worker.heard_at
            if silent_s > factor * worker.carrier.hang_s and not worker.hung:
                worker.hung = True
                worker.channel.close()  # The receiver finds its end.
        for number in [number for number, end in self._reserved.items() if now > end]:
            del self._reserved[number]
            self._shares.left(number)
            self._changed = True

    def _begin_stop(self, reason: MayflyError, grace_s: float) -> None:
        self._reason = self._reason or reason
        if self._kill_at is None:
            self._kill_at = time.monotonic() + grace_s + self._release_s
        unassigned, self._unassigned = self._unassigned, []
        for task in unassigned:
            task.events.put(Ended(task.command.shard.index, error=self._reason))
        self._send_all(Stop(reason, grace_s))

    # Messages from workers.

    def _arrived(
        self, worker: WorkerHandle, messages: Sequence[Report | RowsNeeded | Ended]
    ) -> None:
        for message in messages:
            if isinstance(message, RowsNeeded):
                if (task := worker.tasks.get(message.shard)) is not None:
                    task.events.put(message)
            elif isinstance(message, Report):
                self._reported(worker, message)
            else:
                self._shard_ended(worker, message)

    def _flush(self, worker: WorkerHandle) -> None:
        """Send what had no room, as soon as there is room."""
        done = True
        with suppress(OSError):
            done = worker.channel.flush()
        waits = worker.channel.fileno() in self._selector.get_map()
        if waits and done:
            self._selector.unregister(worker.channel)
        elif not (waits or done):
            self._selector.register(worker.channel, selectors.EVENT_WRITE, worker)

    def _reported(self, worker: WorkerHandle, report: Report) -> None:
        if worker.report is None:
            # Only once it is ready: until then its slots would be idle.
            self._shares.joined(worker.number)
        worker.report = report
        self._shares.reported(
            worker.number,
            taken=report.taken,
            in_flight=report.in_flight + report.unwritten,
            waiting=report.waiting,
            more=report.more,
        )
        self._learn(worker, report.samples)
        for message in report.messages:
            # Other workers meet the same condition: report it once.
            self._notes.log(message.partition(" (")[0], message)

    def _learn(self, worker: WorkerHandle, samples: list[Sample]) -> None:
        """Pass a worker's samples to the limiter, if they were taken under the current limit."""
        now, limit = time.monotonic(), self._limiter.limit
        beside = self._shares.in_flight_beside(worker.number)
        current = self._shares.is_up_to_date(worker.number)
        for latency_s, in_flight, work in samples:
            if latency_s == OVERLOAD:
                self._limiter.overloaded(now, in_flight=in_flight + beside)
            elif latency_s == LIFTED:
                self._limiter.lifted()
            elif current and self._limiter.limit == limit:
                self._limiter.answered(
                    now, latency_s=latency_s, in_flight=in_flight + beside, work=work
                )

    def _shard_ended(self, worker: WorkerHandle, ended: Ended) -> None:
        task = worker.tasks.pop(ended.shard, None)
        # The thread that waits for the shard may read the totals next.
        self._publish()
        if ended.error is not None and ended.over and isinstance(ended.error, MayflyError):
            # An error that ends one engine would end the others too.
            self._begin_stop(ended.error, 0)
        if task is not None:
            task.events.put(ended)

    def _worker_lost(self, worker: WorkerHandle) -> None:
        """Hand the shards of a worker that has died or hangs to other workers."""
        del self._workers[worker.number]
        worker.channel.close()
        self._flush(worker)  # Nothing, once it is closed.
        carrier, hung = worker.carrier, worker.hung
        seconds = carrier.outlives_hang_s if hung else carrier.outlives_s
        reason = carrier.end(hung=hung)
        if hung:
            reason = f"killed after {carrier.hang_s:.0f} s without a report"
        self._totals.keep(worker.report)
        self._changed = True
        if worker.report is not None:
            self._shares.lost(worker.number)
            self._reserved[worker.number] = time.monotonic() + seconds
        tasks = [*worker.tasks.values()]
        if self._reason is not None:
            for task in tasks:
                task.events.put(Ended(task.command.shard.index, error=self._reason))
            return
        try:
            self._coming += self._fleet.lost(carrier, reason, ready=worker.report is not None)
        except MayflyError as error:
            for task in tasks:
                task.events.put(Ended(task.command.shard.index, error=error))
            raise
        self._log(f"{carrier.name} was {reason}; another worker continues its shards")
        for task in tasks:
            task.events.put(WorkerLost(reason))

    def _share_out(self) -> None:
        for number, share in self._shares.share_out(self._limiter.limit).items():
            self._workers[number].send(share)
        self._publish()
        self._changed = False

    def _publish(self) -> None:
        reports = [w.report for w in [*self._workers.values()] if w.report is not None]
        if not self._proven and self._totals.any_success:
            self._proven = True
            self._send_all(Proven())
        self._snapshot = self._totals.snapshot(reports, self._limiter)


def _chunks(batch: Batch, shard: Shard) -> Generator[Chunk]:
    yield from batch.dataset.read(shard.first_row, shard.rows, batch.renderer.needs)


Sending = Engine | WorkerPool
