"""The worker pool: workers that send a run's rows from processes of their own, under one limit.

It is used in place of an engine. A thread of its own has the connections to the workers and
everything else here; other threads leave calls for it. The journal of a shard is written by the
thread that waits for the shard, so that a disk that hangs does not hold up a stop. One limiter
decides on the number in flight, from what all workers see; `mayfly.workers.slots` hands it out.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from functools import partial
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Self

from mayfly.inference.concurrency import CEILING, Source
from mayfly.inference.engine import Engine, Snapshot, limiter_for
from mayfly.inference.throttled_log import ThrottledLog
from mayfly.models.errors import EndpointLost, MayflyError, TerminalError
from mayfly.models.rows import EMPTY_TALLY, Tally
from mayfly.models.shards import Shard
from mayfly.shards.runner import Batch, periodic_sync
from mayfly.storage.dataset import Chunk
from mayfly.storage.journal import Journal
from mayfly.workers.carrier import Carrier, Fleet
from mayfly.workers.handle import ShardTask, WorkerHandle, WorkerLost
from mayfly.workers.mailbox import CallQueue
from mayfly.workers.protocol import (
    Alive,
    Assignment,
    Block,
    Ended,
    NothingFollows,
    Order,
    Proven,
    Report,
    Rows,
    Stop,
    Take,
    WantRows,
    Warm,
    Written,
)
from mayfly.workers.slots import LIFTED, OVERLOAD, Sample, SlotShares

MOST_DEATHS = 3
"""Workers that may die with a shard before it is given up: it may be what kills them."""

ALIVE_EVERY_S = 1.0

START_TIMES = 4
"""How many times as long as later a worker may report nothing at first."""

LATEST_S = 10.0
"""How long after the grace a worker may take to let go of its shards; then it is killed."""


class WorkerPool:
    """Has shards sent for many threads; use as a context manager."""

    def __init__(self, assignment: Assignment, *, fleet: Fleet, log: Callable[[str], None]) -> None:
        """Prepare; nothing runs before the context is entered.

        Args:
            fleet: Starts workers.
            log: Receives messages for the user.
        """
        self._assignment, self._fleet, self._log = assignment, fleet, log
        self._notes = ThrottledLog(log, time.monotonic)
        self._limiter = limiter_for(assignment.settings)
        self._shares = SlotShares()
        self._workers: dict[int, WorkerHandle] = {}
        self._kept_back: dict[int, float] = {}
        self._joined = self._coming = 0
        self._unassigned: list[ShardTask] = []
        self._alive_at = 0.0
        self._tally = EMPTY_TALLY
        self._proven = assignment.settings.proven
        self._last: tuple[int, int] | None = None
        self._given = self._retries = self._hedges = 0
        self._reasons: Counter[str] = Counter()
        self._reason: MayflyError | None = None
        self._kill_at: float | None = None
        self._calls, self._opened, self._changed = CallQueue(), False, True
        self._snapshot = Snapshot(0, self._limiter.limit, 0, 0, 0, EMPTY_TALLY)
        self._thread = threading.Thread(target=self._run, name="worker pool", daemon=True)

    def open(self) -> Self:
        """Start the workers; opening twice is opening once."""
        if not self._opened:
            self._opened = True
            self._thread.start()
        return self

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop(EndpointLost("the worker pool was closed"), grace_s=0)
        self._thread.join()

    # For other threads.

    @property
    def size(self) -> int:
        """How many workers there are, or are about to be."""
        return max(1, len(self._workers) + self._coming or self._fleet.size)

    def send(self, batch: Batch, shard: Shard, answered: frozenset[int], journal: Journal) -> None:
        """Have the rows of a shard sent, but for those that are answered; blocks until that ends.

        When it returns, the journal has all answers on the disk.

        Raises:
            MayflyError: What `stop` was given, or what went wrong with the shard.
        """
        deaths = 0
        with periodic_sync(journal, self):
            while True:
                task = ShardTask(Take(shard, batch.model, answered), again=deaths > 0)
                if not self._calls.leave(self._give, task):
                    self.check()
                written: set[int] = set()
                lost = self._follow(task, batch, journal, written)
                if lost is None:
                    break
                deaths += 1
                if deaths == MOST_DEATHS:
                    raise TerminalError(
                        f"shard {shard.index}: {deaths} workers died with it, the last was "
                        f"{lost.reason}; if memory is short, run again with --runner local or "
                        "fewer --shard-rows in another --output"
                    )
                answered |= written
        journal.commit()

    def _follow(
        self, task: ShardTask, batch: Batch, journal: Journal, written: set[int]
    ) -> WorkerLost | None:
        """Write what comes of a shard until it has ended, or its worker was lost."""
        shard = task.order.shard
        with closing(_chunks(batch, shard)) as chunks:
            while True:
                event = task.events.get()
                match event:
                    case Block(_, records, tally, requests):
                        try:
                            written.update(journal.write_records(records))
                            journal.keep_up()
                        except MayflyError as error:
                            # An answer that cannot be kept should not be bought.
                            self._calls.leave(self._let_go, task)
                            self.stop(error, grace_s=0)
                            raise
                        self._calls.leave(self._written, task, requests, tally)
                    case WantRows():
                        batch.reading.moves += 1
                        self._calls.leave(self._forward, task, _next(chunks, shard.index))
                    case Ended(error=None):
                        return None
                    case Ended(error=error):
                        assert error is not None  # noqa: S101
                        raise error
                    case WorkerLost():
                        return event

    def stop(self, reason: MayflyError, *, grace_s: float) -> None:
        """Send nothing more; requests in flight may end within the grace, in seconds.

        Returns at once; every `send` then raises `reason`, or the first one that was given.
        """
        self._calls.leave(self._begin_stop, reason, grace_s)

    @property
    def ended(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._calls.closed or self._reason is not None

    def check(self) -> None:
        """Raise what ended the pool, if it has ended."""
        if self.ended:
            raise self._reason or EndpointLost("the worker pool was closed")

    def begin_at(self, limit: int, source: Source = "guess", *, ceiling: int = CEILING) -> None:
        """Begin the search for a limit at a number; of no use once it is under way.

        Args:
            source: Where the number comes from.
            ceiling: The most that is ever tried.
        """
        self._calls.leave(partial(self._limiter.begin_at, limit, source, ceiling=ceiling))

    def scaled(self, factor: float) -> None:
        """Tell that the endpoint has so many times the replicas that it had."""
        self._calls.leave(self._limiter.scaled, factor)

    def warm(self, connections: int) -> None:
        """Open connections ahead of the first request."""
        self._calls.leave(lambda: self._send_all(Warm(-(-connections // self.size))))

    def hedge_after(self, *, calls: int, replicas: int) -> None:
        """Tell that no more calls of `send` will begin than so many, counted from the first."""
        self._calls.leave(self._end_is_near, calls, replicas)

    def snapshot(self) -> Snapshot:
        """Return what the pool is doing now."""
        return self._snapshot

    # In the pool's thread.

    def _run(self) -> None:
        try:
            self._coming = self._fleet.open(
                partial(self._calls.leave, self._welcome), partial(self._calls.leave, self._fail)
            )
            while not self._over():
                ends = {one.carrier.connection: one for one in self._workers.values()}
                for end in wait([self._calls.fileno(), *ends], timeout=ALIVE_EVERY_S):
                    if isinstance(end, Connection):
                        self._hear(ends[end])
                    else:
                        self._calls.heard()
                for function, args in self._calls.taken():
                    self._changed |= function not in (self._written, self._forward)
                    function(*args)
                self._keep_time()
                if self._changed:
                    self._hand_out()
        except MayflyError as error:
            self._reason = self._reason or error
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody else can go on
            self._reason = TerminalError(
                f"the worker pool broke down: {type(error).__name__}: {error}"
            )
        finally:
            self._close()

    def _over(self) -> bool:
        """Whether it was stopped and nothing is under way any more, or it has waited enough."""
        if self._kill_at is None:
            return False
        busy = any(worker.tasks for worker in self._workers.values())
        return not busy or time.monotonic() > self._kill_at

    def _close(self) -> None:
        undone = self._calls.close()
        # First all connections, so that all end at once.
        for worker in self._workers.values():
            worker.carrier.connection.close()
        for worker in self._workers.values():
            worker.carrier.end()
        reason = self._reason or EndpointLost("the worker pool was closed")
        left = [task for worker in self._workers.values() for task in worker.tasks.values()]
        left += self._unassigned
        left += [args[0] for function, args in undone if function == self._give]
        for task in left:
            task.events.put(Ended(task.order.shard.index, error=reason))
        for function, args in undone:
            if function == self._welcome:
                args[0].end()
        for worker in self._workers.values():
            self._remember(worker)
        self._workers.clear()
        self._publish()
        self._fleet.close()

    def _fail(self, error: MayflyError) -> None:
        raise error

    def _welcome(self, carrier: Carrier) -> None:
        self._coming = max(0, self._coming - 1)
        self._joined += 1
        worker = self._workers[self._joined] = WorkerHandle(self._joined, carrier)
        worker.send(carrier.brief(self._assignment))
        if self._proven:
            worker.send(Proven())
        if not self._coming:
            waiting, self._unassigned = self._unassigned, []
            for task in waiting:
                self._assign(task)

    def _give(self, task: ShardTask) -> None:
        if self._reason is not None:
            task.events.put(Ended(task.order.shard.index, error=self._reason))
            return
        self._given += not task.again
        self._assign(task)

    def _assign(self, task: ShardTask) -> None:
        if self._coming or not self._workers:
            # Shared out evenly over those that there will be.
            self._unassigned.append(task)
            return
        worker = min(self._workers.values(), key=lambda one: (len(one.tasks), one.number))
        worker.tasks[task.order.shard.index] = task
        task.worker = worker.number
        worker.given += 1
        worker.send(task.order)
        self._send_the_last()

    def _let_go(self, task: ShardTask) -> None:
        """Forget a shard whose answers cannot be kept."""
        if (worker := self._workers.get(task.worker)) is not None:
            worker.tasks.pop(task.order.shard.index, None)

    def _written(self, task: ShardTask, requests: int, tally: Tally) -> None:
        self._tally += tally
        if (worker := self._workers.get(task.worker)) is not None:
            worker.send(Written(task.order.shard.index, requests))

    def _forward(self, task: ShardTask, rows: Rows) -> None:
        if (worker := self._workers.get(task.worker)) is not None:
            worker.send(rows)

    def _end_is_near(self, calls: int, replicas: int) -> None:
        self._last = calls, replicas
        self._send_the_last()

    def _send_the_last(self) -> None:
        """Say that nothing follows, as soon as all has been given out."""
        if self._last is not None and self._given >= self._last[0]:
            for worker in self._workers.values():
                worker.send(NothingFollows(worker.given, self._last[1]))

    def _send_all(self, order: Order) -> None:
        for worker in self._workers.values():
            worker.send(order)

    def _keep_time(self) -> None:
        """Send signs of life, give up workers that send none, and free slots that were kept."""
        now = time.monotonic()
        if now - self._alive_at >= ALIVE_EVERY_S:
            self._alive_at = now
            self._send_all(Alive())
        for worker in [*self._workers.values()]:
            # One that is still starting loads what it needs first.
            patience = 1 if worker.report is not None else START_TIMES
            if now - worker.heard_at > patience * worker.carrier.hang_s:
                self._lost(worker, hung=True)
        for number in [number for number, end in self._kept_back.items() if now > end]:
            del self._kept_back[number]
            self._shares.left(number)
            self._changed = True

    def _begin_stop(self, reason: MayflyError, grace_s: float) -> None:
        self._reason = self._reason or reason
        if self._kill_at is None:
            self._kill_at = time.monotonic() + grace_s + LATEST_S
        unassigned, self._unassigned = self._unassigned, []
        for task in unassigned:
            task.events.put(Ended(task.order.shard.index, error=self._reason))
        self._send_all(Stop(reason, grace_s))

    # What workers send.

    def _hear(self, worker: WorkerHandle) -> None:
        connection = worker.carrier.connection
        worker.heard_at = time.monotonic()
        try:
            while connection.poll():
                message = connection.recv()
                if isinstance(message, Block | WantRows):
                    if (task := worker.tasks.get(message.shard)) is not None:
                        task.events.put(message)
                    continue
                self._changed = True
                if isinstance(message, Report):
                    self._reported(worker, message)
                else:
                    self._shard_ended(worker, message)
        except (EOFError, OSError):
            self._lost(worker)

    def _reported(self, worker: WorkerHandle, report: Report) -> None:
        if worker.report is None:
            # Not before it is awake: until then its slots would only lie idle.
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
            # What one worker meets, the others meet as well.
            self._notes.log(message.partition(" (")[0], message)

    def _learn(self, worker: WorkerHandle, samples: list[Sample]) -> None:
        """Let the limiter learn from what a worker has seen under the limit that holds now."""
        now, limit = time.monotonic(), self._limiter.limit
        beside = self._shares.in_flight_beside(worker.number)
        current = self._shares.goes_by_latest(worker.number)
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
        # Whoever waits for the shard may look at the sums next.
        self._publish()
        if ended.error is not None and ended.over and isinstance(ended.error, MayflyError):
            # What ends one engine would end the others: none goes on.
            self._begin_stop(ended.error, 0)
        if task is not None:
            task.events.put(ended)

    def _lost(self, worker: WorkerHandle, *, hung: bool = False) -> None:
        """Let others go on with the shards of a worker that has died, or hangs."""
        del self._workers[worker.number]
        carrier = worker.carrier
        seconds = carrier.outlives_hang_s if hung else carrier.outlives_s
        reason = carrier.end(hung=hung)
        if hung:
            reason = f"ended, having reported nothing for {carrier.hang_s:.0f} s"
        self._remember(worker)
        self._changed = True
        if worker.report is not None:
            self._shares.lost(worker.number)
            self._kept_back[worker.number] = time.monotonic() + seconds
        tasks = [*worker.tasks.values()]
        if self._reason is not None:
            for task in tasks:
                task.events.put(Ended(task.order.shard.index, error=self._reason))
            return
        try:
            self._coming += self._fleet.lost(carrier, reason, ready=worker.report is not None)
        except MayflyError as error:
            for task in tasks:
                task.events.put(Ended(task.order.shard.index, error=error))
            raise
        self._log(f"{carrier.name} was {reason}; another goes on with its shards")
        for task in tasks:
            task.events.put(WorkerLost(reason))

    def _remember(self, worker: WorkerHandle) -> None:
        """Keep what a worker has done that is no longer there to say so."""
        if worker.report is not None:
            self._retries += worker.report.retries
            self._hedges += worker.report.hedges
            self._reasons.update(worker.report.reasons)

    def _hand_out(self) -> None:
        for number, share in self._shares.share_out(self._limiter.limit).items():
            self._workers[number].send(share)
        self._publish()
        self._changed = False

    def _publish(self) -> None:
        reports = [w.report for w in [*self._workers.values()] if w.report is not None]
        if not self._proven and self._tally.done > self._tally.failed:
            self._proven = True
            self._send_all(Proven())
        self._snapshot = Snapshot(
            sum(report.in_flight for report in reports),
            self._limiter.limit,
            sum(report.waiting for report in reports),
            self._retries + sum(report.retries for report in reports),
            self._hedges + sum(report.hedges for report in reports),
            self._tally,
            any(report.more for report in reports),
            self._limiter.settled,
            next((report.failure for report in reports if report.failure), ""),
            sum((Counter(report.reasons) for report in reports), start=self._reasons),
        )


def _chunks(batch: Batch, shard: Shard) -> Generator[Chunk]:
    yield from batch.dataset.read(shard.first_row, shard.rows, batch.renderer.needs)


def _next(chunks: Iterator[Chunk], shard: int) -> Rows:
    """Return the next rows of a shard for a worker, or why there are none."""
    try:
        return Rows(shard, next(chunks, None))
    except MayflyError as error:
        return Rows(shard, error)


Sending = Engine | WorkerPool
