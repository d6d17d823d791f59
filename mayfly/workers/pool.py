"""The crew: workers that answer a run's shards in processes of their own, under one limit.

It stands where an engine stands otherwise. A thread of its own has the connections to the workers
and everything else here; other threads only leave with it what they want done. One law decides on
the number in flight, from what all workers see; `mayfly.workers.slots` hands it out.
"""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Self

from mayfly.inference.concurrency import CEILING, Source
from mayfly.inference.engine import Engine, Snapshot, limiter_for
from mayfly.inference.notes import Notes
from mayfly.models.errors import EndpointLost, MayflyError, TerminalError
from mayfly.models.rows import NOTHING, Tally
from mayfly.models.shards import Shard
from mayfly.workers.counters import ProgressCounters
from mayfly.workers.handle import Task, Worker
from mayfly.workers.mailbox import CallQueue
from mayfly.workers.process import Carrier, forget_empty_log
from mayfly.workers.protocol import (
    Alive,
    Answered,
    Assignment,
    Ended,
    NothingFollows,
    Order,
    Proven,
    Report,
    Stop,
    Warm,
)
from mayfly.workers.slots import LIFTED, OVERLOAD, Sample, SlotShares

MOST_WORKERS = 8
"""More than so many send more than an endpoint answers."""

DEATHS_BORNE = 3
"""Workers that may die with a shard before it is given up: it may be what kills them."""

ALIVE_EVERY_S = 1.0

LATEST_S = 10.0
"""How long after the grace a worker may take to let go of its shards; then it is killed."""


def workers_for(shards: int) -> int:
    """Return how many workers so many shards are worth: one for each core of ours."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(max(2, cores or 1), MOST_WORKERS, shards))


class WorkerPool:
    """Answers shards for many threads; use as a context manager."""

    def __init__(
        self,
        assignment: Assignment,
        *,
        workers: int,
        start: Callable[[], Carrier],
        say: Callable[[str], None],
    ) -> None:
        """Prepare; nothing runs before the context is entered.

        Args:
            start: Starts a worker.
            say: Tells people of a worker that died.
        """
        self._assignment, self._start, self._say = assignment, start, say
        self.size = workers
        self._notes = Notes(say, time.monotonic)
        self._law = limiter_for(assignment.settings)
        self._shares = SlotShares()
        self._workers: dict[int, Worker] = {}
        self._started = self._coming = 0
        self._unassigned: list[Task] = []
        self._said_alive_at = 0.0
        self._counted = ProgressCounters()
        self._proven = assignment.settings.proven
        self._last: tuple[int, int] | None = None
        self._given = self._retries = self._hedges = 0
        self._reasons: Counter[str] = Counter()
        self._reason: MayflyError | None = None
        self._kill_at: float | None = None
        self._errands, self._opened = CallQueue(), False
        self._snapshot = Snapshot(0, self._law.limit, 0, 0, 0, NOTHING)
        self._thread = threading.Thread(target=self._run, name="crew", daemon=True)

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
        self.stop(EndpointLost("the crew was dismissed"), grace_s=0)
        self._thread.join()

    # For other threads.

    def answer(
        self, shard: Shard, model: str, answered_all: Callable[[], object] = lambda: None
    ) -> Tally:
        """Have a shard answered; blocks until its part is committed.

        Args:
            answered_all: Called, in another thread, once nothing more is sent for it.

        Raises:
            MayflyError: What `stop` was given, or what went wrong with the shard.
        """
        task = Task(shard, model, answered_all)
        if not self._errands.leave(self._give, task):
            self.check()
        return task.future.result()

    def stop(self, reason: MayflyError, *, grace_s: float) -> None:
        """Send nothing more; requests in flight may end within the grace, in seconds.

        Returns at once; every `answer` then raises `reason`, or the first one that was given.
        """
        self._errands.leave(self._begin_stop, reason, grace_s)

    @property
    def ended(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._errands.closed or self._reason is not None

    def check(self) -> None:
        """Raise what ended the crew, if it has ended."""
        if self.ended:
            raise self._reason or EndpointLost("the crew was dismissed")

    def begin_at(self, limit: int, source: Source = "guess", *, ceiling: int = CEILING) -> None:
        """Begin the search for a limit at a number; of no use once it is under way.

        Args:
            source: Where the number comes from.
            ceiling: The most that is ever tried.
        """
        self._errands.leave(partial(self._law.begin_at, limit, source, ceiling=ceiling))

    def scaled(self, factor: float) -> None:
        """Tell that the endpoint has so many times the replicas that it had."""
        self._errands.leave(self._law.scaled, factor)

    def warm(self, connections: int) -> None:
        """Open connections ahead of the first request."""
        self._errands.leave(self._tell_all, Warm(-(-connections // self.size)))

    def nothing_follows(self, *, calls: int, replicas: int) -> None:
        """Tell that no more calls of `answer` will begin than so many, counted from the first."""
        self._errands.leave(self._end_is_near, calls, replicas)

    def snapshot(self) -> Snapshot:
        """Return what the crew is doing now."""
        return self._snapshot

    # In the crew's thread.

    def _run(self) -> None:
        try:
            for _ in range(self.size):
                self._hire()
            while not self._over():
                ends = {worker.place.connection: worker for worker in self._workers.values()}
                for end in wait([self._errands.fileno(), *ends], timeout=ALIVE_EVERY_S):
                    if isinstance(end, Connection):
                        self._hear(ends[end])
                    else:
                        self._errands.heard()
                for function, args in self._errands.taken():
                    function(*args)
                self._hand_out()
                self._say_that_it_lives()
        except MayflyError as error:
            self._reason = self._reason or error
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody else can go on
            self._reason = TerminalError(f"the crew broke down: {type(error).__name__}: {error}")
        finally:
            self._dismiss()

    def _over(self) -> bool:
        """Whether it was stopped and nothing is under way any more, or it has waited enough."""
        if self._kill_at is None:
            return False
        busy = any(worker.tasks for worker in self._workers.values())
        return not busy or time.monotonic() > self._kill_at

    def _dismiss(self) -> None:
        undone = self._errands.close()
        # First all connections, so that all end at once.
        for worker in self._workers.values():
            worker.place.connection.close()
        for worker in self._workers.values():
            worker.place.end()
        reason = self._reason or EndpointLost("the crew was dismissed")
        left = [task for worker in self._workers.values() for task in worker.tasks.values()]
        left += self._unassigned
        left += [args[0] for function, args in undone if function == self._give]
        for task in left:
            task.future.set_exception(reason)
        for worker in self._workers.values():
            self._remember(worker)
        self._workers.clear()
        self._publish()
        forget_empty_log(self._assignment.paths)

    def _hire(self) -> None:
        """Have a worker started, which may take its time."""
        self._coming += 1

        def start() -> None:
            try:
                place = self._start()
            except MayflyError as error:
                self._errands.leave(self._fail, error)
                return
            if not self._errands.leave(self._welcome, place):
                place.end()

        threading.Thread(target=start, name="hire", daemon=True).start()

    def _fail(self, error: MayflyError) -> None:
        raise error

    def _welcome(self, place: Carrier) -> None:
        self._coming -= 1
        self._started += 1
        worker = self._workers[self._started] = Worker(self._started, place)
        worker.tell(self._assignment)
        if self._proven:
            worker.tell(Proven())
        if not self._coming:
            waiting, self._unassigned = self._unassigned, []
            for task in waiting:
                self._assign(task)

    def _give(self, task: Task) -> None:
        if self._reason is not None:
            task.future.set_exception(self._reason)
            return
        self._given += 1
        self._assign(task)

    def _assign(self, task: Task) -> None:
        if self._coming:
            # Shared out evenly over those that there will be.
            self._unassigned.append(task)
            return
        worker = min(self._workers.values(), key=lambda one: (len(one.tasks), one.number))
        worker.tasks[task.order.shard.index] = task
        worker.given += 1
        worker.tell(task.order)
        self._tell_the_last()

    def _end_is_near(self, calls: int, replicas: int) -> None:
        self._last = calls, replicas
        self._tell_the_last()

    def _tell_the_last(self) -> None:
        """Say that nothing follows, as soon as all has been given out."""
        if self._last is not None and self._given >= self._last[0]:
            for worker in self._workers.values():
                worker.tell(NothingFollows(worker.given, self._last[1]))

    def _tell_all(self, order: Order) -> None:
        for worker in self._workers.values():
            worker.tell(order)

    def _say_that_it_lives(self) -> None:
        if (now := time.monotonic()) - self._said_alive_at >= ALIVE_EVERY_S:
            self._said_alive_at = now
            self._tell_all(Alive())

    def _begin_stop(self, reason: MayflyError, grace_s: float) -> None:
        self._reason = self._reason or reason
        if self._kill_at is None:
            self._kill_at = time.monotonic() + grace_s + LATEST_S
        self._tell_all(Stop(reason, grace_s))

    # What workers say.

    def _hear(self, worker: Worker) -> None:
        connection = worker.place.connection
        try:
            while connection.poll():
                message = connection.recv()
                if isinstance(message, Report):
                    self._reported(worker, message)
                elif isinstance(message, Answered):
                    if (task := worker.tasks.get(message.shard)) is not None:
                        task.answered_all()
                else:
                    self._shard_ended(worker, message)
        except (EOFError, OSError):
            self._lost(worker)

    def _reported(self, worker: Worker, report: Report) -> None:
        if worker.report is None:
            # Not before it is awake: until then it would only sit on its places.
            self._shares.joined(worker.number)
        worker.report = report
        self._shares.reported(
            worker.number,
            taken=report.taken,
            in_flight=report.in_flight,
            waiting=report.waiting,
            more=report.more,
        )
        for shard, tallies in report.tallies.items():
            self._counted.note(shard, *tallies)
        self._learn(worker, report.samples)
        for message in report.messages:
            # What one worker meets, the others meet as well.
            self._notes.say(message.partition(" (")[0], message)

    def _learn(self, worker: Worker, samples: list[Sample]) -> None:
        """Let the law learn from what a worker has seen under the limit that holds now."""
        now, limit = time.monotonic(), self._law.limit
        beside = self._shares.in_flight_beside(worker.number)
        current = self._shares.goes_by_latest(worker.number)
        for latency_s, in_flight, work in samples:
            if latency_s == OVERLOAD:
                self._law.overloaded(now, in_flight=in_flight + beside)
            elif latency_s == LIFTED:
                self._law.lifted()
            elif current and self._law.limit == limit:
                self._law.answered(
                    now, latency_s=latency_s, in_flight=in_flight + beside, work=work
                )

    def _shard_ended(self, worker: Worker, ended: Ended) -> None:
        task = worker.tasks.pop(ended.shard)
        # Whoever waits for the shard may look at the sums next.
        self._publish()
        if ended.error is not None:
            if ended.over and isinstance(ended.error, MayflyError):
                # What ends one engine would end the others: none goes on.
                self._begin_stop(ended.error, 0)
            task.future.set_exception(ended.error)
            return
        assert ended.tally is not None  # noqa: S101 - one of the two
        self._counted.ended(ended.shard)
        task.future.set_result(ended.tally)

    def _lost(self, worker: Worker) -> None:
        """Let others go on with the shards of a worker that has died."""
        del self._workers[worker.number]
        what = worker.place.end()
        self._remember(worker)
        if worker.report is not None:
            self._shares.left(worker.number)
        tasks = list(worker.tasks.values())
        if self._reason is not None:
            for task in tasks:
                task.future.set_exception(self._reason)
            return
        if worker.report is None:
            self._workers[worker.number] = worker
            raise TerminalError(
                f"{worker.place.name} {what} before it was ready; see "
                f"{self._assignment.paths.workers_log}, or run with --runner local"
            )
        self._say(f"{worker.place.name} was {what}; another goes on with its shards")
        self._hire()
        for task in tasks:
            task.deaths += 1
            if task.deaths < DEATHS_BORNE:
                self._assign(task)
                continue
            task.future.set_exception(
                TerminalError(
                    f"shard {task.order.shard.index}: {task.deaths} worker processes died with it, "
                    f"the last {what}; if memory is short, run again with --runner local or fewer "
                    "--shard-rows in another --output"
                )
            )

    def _remember(self, worker: Worker) -> None:
        """Keep what a worker has done that is no longer there to say so."""
        if worker.report is not None:
            self._retries += worker.report.retries
            self._hedges += worker.report.hedges
            self._reasons.update(worker.report.reasons)

    def _hand_out(self) -> None:
        for number, share in self._shares.share_out(self._law.limit).items():
            self._workers[number].tell(share)
        self._publish()

    def _publish(self) -> None:
        reports = [w.report for w in self._workers.values() if w.report is not None]
        tally = self._counted.tally
        if not self._proven and tally.done > tally.failed:
            self._proven = True
            self._tell_all(Proven())
        self._snapshot = Snapshot(
            sum(report.in_flight for report in reports),
            self._law.limit,
            sum(report.waiting for report in reports),
            self._retries + sum(report.retries for report in reports),
            self._hedges + sum(report.hedges for report in reports),
            tally,
            any(report.more for report in reports),
            self._law.settled,
            next((report.failure for report in reports if report.failure), ""),
            sum((Counter(report.reasons) for report in reports), start=self._reasons),
        )


Sending = Engine | WorkerPool
