"""The engine: requests in flight on one event loop, fed by many threads.

One loop (uvloop) in a thread of its own holds one transport and one limit. Shards call `answer`
from threads of theirs: it renders rows ahead, hands them over, and records what comes back, so
that disk and templates never hold up the loop. The loop is never the main thread's: uvloop there
swallows SIGTERM, and with it the teardown.
"""

import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from types import TracebackType
from typing import Self

import uvloop

from tasks.core.backoff import Backoff, delay_s
from tasks.core.breaker import Breaker
from tasks.core.errors import CredentialsRefused, EndpointLost, MayflyError
from tasks.core.failure import NO_ANSWER, UNREADABLE, Failure, kind_of
from tasks.core.limiter import Aimd, Fixed, Limiter
from tasks.core.rows import NOTHING, Answer, RowRequest, Tally
from tasks.core.verdict import Action, Verdict, judge
from tasks.inference.answers import Unreadable, read_completion, read_error
from tasks.inference.stream import ReadReply, Row, Snapshot, Stream
from tasks.inference.transport import NoAnswer, NotSent, Reply, RustTransport, Transport

READ_AHEAD = 256
"""Rows rendered and waiting beyond twice the limit: enough that the loop never waits for one."""

TAKE = 64
"""Rows handed over at once: one wake-up of the loop for all of them."""

SETTLE_S = 0.005
"""How long a feeding thread lets answers gather before it records them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where requests go; the headers hold the key and show in no repr."""

    url: str
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """What the engine may do.

    Attributes:
        concurrency: Requests in flight; None finds a number.
        first_limit: Where finding begins.
        row_attempts: Requests sent for one row, at most.
        row_timeout_s: Longest wait for one answer, in seconds.
        lost_after_s: How long nothing but refused connections and missing routes is borne.
        fatal_in_a_row: Rows that must meet the same fatal answer before the run ends.
        proven: Whether rows of this job were answered before; see `Breaker`.
    """

    concurrency: int | None = None
    first_limit: int = 64
    row_attempts: int = 6
    row_timeout_s: float = 600.0
    lost_after_s: float = 120.0
    fatal_in_a_row: int = 8
    proven: bool = False
    backoff: Backoff = field(default_factory=Backoff)


class Engine:
    """Answers rows for many threads; use as a context manager."""

    def __init__(
        self,
        *,
        target: Target,
        settings: EngineSettings,
        transport: Callable[[], Transport] | None = None,
        read: ReadReply = read_completion,
    ) -> None:
        """Prepare; nothing runs before the context is entered.

        Args:
            read: Makes an answer of the body of a 200; on the loop, so it must be quick.
        """
        self._settings = settings
        self._read = read
        self._breaker = Breaker(proven=settings.proven)
        self._make_transport = transport or (
            lambda: RustTransport(target.url, target.headers, timeout_s=settings.row_timeout_s)
        )
        self._limiter: Limiter = (
            Aimd(first=settings.first_limit)
            if settings.concurrency is None
            else Fixed(settings.concurrency)
        )
        self._uniform = random.Random().uniform  # noqa: S311 - jitter, not secrets
        self._streams: list[Stream] = []
        self._workers: set[asyncio.Task[None]] = set()
        self._in_flight = self._retries = self._delayed = 0
        self._finished = NOTHING
        self._fatal_rows: set[int] = set()
        self._ever_answered = False
        self._silent_since: float | None = None
        self._reason: MayflyError | None = None
        self._ended = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop(EndpointLost("the engine was closed"), grace_s=0)
        self._thread.join()

    # For threads that feed it.

    def answer(
        self,
        requests: Iterable[RowRequest],
        record: Callable[[Answer], Sequence[Answer] | None],
    ) -> Tally:
        """Answer rows; blocks until every one has an answer or an error.

        `requests` is pulled and `record` is called in this thread only. May be called from
        several threads at once; rows of the earlier call go first.

        Args:
            requests: May yield more after it ran out, as long as an answer is still out: what
                `record` finds wanting can be asked again.
            record: Returns the answers that settle rows where these are not the answer it was
                given (none: it is asked again; several: the request carried several rows).

        Raises:
            MayflyError: What `stop` was given, or what the endpoint's answers amount to. All that
                had been answered has been recorded.
        """
        stream, source = Stream(), iter(requests)
        self._call(self._streams.append, stream)
        unrecorded = 0
        try:
            while True:
                while fed := self._feed(stream, source, self._read_ahead() - unrecorded):
                    unrecorded += fed
                    self._call(self._pump)
                if not unrecorded:
                    return stream.tally
                stream.arrived.wait(timeout=1.0)
                ended = self._ended.is_set()
                stream.arrived.clear()
                for _ in range(len(stream.answers)):
                    answer = stream.answers.popleft()
                    settled = record(answer)
                    for one in (answer,) if settled is None else settled:
                        stream.tally = stream.tally.plus(one)
                    unrecorded -= 1
                if ended and not stream.answers and unrecorded:
                    raise self._reason or EndpointLost("the engine was closed")
                time.sleep(SETTLE_S)
        finally:
            self._call(self._forget, stream)

    def stop(self, reason: MayflyError, *, grace_s: float) -> None:
        """Send nothing more; requests in flight may end within the grace, in seconds.

        Returns at once; every `answer` then raises `reason`. Works from any thread, any number of
        times; the first reason counts.
        """
        self._call(self._begin_stop, reason, grace_s)

    def snapshot(self) -> Snapshot:
        """Return what the engine is doing now."""
        streams = [*self._streams]
        waiting = sum(len(stream.waiting) for stream in streams)
        return Snapshot(
            self._in_flight,
            self._limiter.limit,
            waiting + self._delayed,
            self._retries,
            sum((stream.tally for stream in streams), start=self._finished),
        )

    def _read_ahead(self) -> int:
        return 2 * self._limiter.limit + READ_AHEAD

    def _feed(self, stream: Stream, source: Iterator[RowRequest], room: int) -> int:
        """Hand rows over while there is room; return how many will come back."""
        fed = 0
        if room < TAKE // 2:
            return 0
        for request in islice(source, min(room, TAKE)):
            fed += 1
            if request.error:
                stream.answers.append(Answer(request.row, None, request.error))
                stream.arrived.set()
            else:
                stream.waiting.append(Row(stream, request))
        return fed

    def _call(self, function: Callable[..., object], *args: object) -> None:
        if self._ended.is_set():
            return
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:  # The loop has closed between the two lines.
            return

    # On the loop.

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._live())

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._over = self._loop.create_future()
        self._transport = self._make_transport()
        self._ready.set()
        try:
            grace_s = await self._over
            if self._workers and grace_s > 0:
                await asyncio.wait(self._workers, timeout=grace_s)
            for worker in [*self._workers]:
                worker.cancel()
            await asyncio.gather(*self._workers, return_exceptions=True)
            await self._transport.close()
        finally:
            self._ended.set()
            for stream in self._streams:
                stream.arrived.set()

    def _begin_stop(self, reason: MayflyError, grace_s: float) -> None:
        if self._reason is None:
            self._reason = reason
        if not self._over.done():
            self._over.set_result(grace_s)

    def _forget(self, stream: Stream) -> None:
        if stream in self._streams:
            self._streams.remove(stream)
            self._finished += stream.tally

    def _pump(self) -> None:
        """Start workers for the rows that wait, up to the limit."""
        waiting = sum(len(stream.waiting) for stream in self._streams)
        while waiting > 0 and len(self._workers) < self._limiter.limit and self._reason is None:
            worker = self._loop.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
            waiting -= 1

    def _next(self) -> Row | None:
        if self._reason is not None or len(self._workers) > self._limiter.limit:
            return None
        for stream in self._streams:
            if stream.waiting:
                return stream.waiting.popleft()
        return None

    async def _work(self) -> None:
        """Send one row after another until none waits; a place in flight is one worker."""
        clock = self._loop.time
        while (row := self._next()) is not None:
            self._in_flight += 1
            began = clock()
            try:
                reply = await self._transport.post(row.body)
            except NotSent as error:
                self._silence(row, str(error))
            except NoAnswer as error:
                row.attempts += 1
                self._limiter.overloaded(clock())
                self._again(row, Failure(NO_ANSWER, str(error)))
            else:
                row.attempts += 1
                self._take(row, reply, clock() - began)
            finally:
                self._in_flight -= 1
            if len(self._workers) < self._limiter.limit:
                self._pump()
        # Now, not when the loop gets to it: a row that comes back meanwhile needs a worker.
        if (task := asyncio.current_task()) is not None:
            self._workers.discard(task)

    def _take(self, row: Row, reply: Reply, latency_s: float) -> None:
        if reply.status == 200:
            try:
                answer = self._read(row.row, reply.body, row.attempts, latency_s)
            except Unreadable as error:
                self._again(row, Failure(UNREADABLE, str(error), 200))
                return
            self._silent_since, self._ever_answered = None, True
            self._fatal_rows.clear()
            self._breaker.answered()
            self._limiter.answered(
                self._loop.time(), latency_s=latency_s, in_flight=self._in_flight
            )
            self._done(row, answer)
            return
        code, words = read_error(reply.body)
        verdict = judge(reply.status, code, reply.header)
        self._refused(row, verdict, Failure(kind_of(reply.status, code), words, reply.status, code))

    def _refused(self, row: Row, verdict: Verdict, failure: Failure) -> None:
        if verdict.overload:
            self._limiter.overloaded(self._loop.time())
        match verdict.action:
            case Action.RETRY:
                self._again(row, failure, retry_after_s=verdict.retry_after_s)
            case Action.WAIT_FOR_ROUTE:
                self._silence(row, str(failure))
            case Action.END_CREDENTIALS | Action.END_ENDPOINT:
                self._fatal(row, verdict, failure)
            case Action.FAIL_ROW | Action.ACCEPT:
                self._fail(row, failure)

    def _fatal(self, row: Row, verdict: Verdict, failure: Failure) -> None:
        """End the run when row after row meets what no row can mend; else try this one again."""
        credentials = verdict.action is Action.END_CREDENTIALS
        self._fatal_rows.add(row.row)
        exhausted = row.attempts >= self._settings.row_attempts
        if (
            verdict.at_once
            or len(self._fatal_rows) >= self._settings.fatal_in_a_row
            or (exhausted and not self._ever_answered)
        ):
            self._unsend(row)
            self._begin_stop(
                CredentialsRefused(f"inference was refused: {failure}")
                if credentials
                else EndpointLost(f"row after row was answered {failure}"),
                0,
            )
        else:
            # Others were answered: once its attempts are used up, the row itself is at fault.
            self._again(row, failure)

    def _again(self, row: Row, failure: Failure, *, retry_after_s: float | None = None) -> None:
        """Send a row again later, or give it up; its place in flight is free meanwhile."""
        if row.attempts >= self._settings.row_attempts:
            self._fail(row, failure)
            return
        self._retries += 1
        wait_s = delay_s(
            self._settings.backoff, row.attempts, retry_after_s=retry_after_s, uniform=self._uniform
        )
        self._later(row, wait_s)

    def _silence(self, row: Row, words: str) -> None:
        """Wait for an endpoint that cannot be reached yet; no attempt of the row is used up."""
        now = self._loop.time()
        self._silent_since = now if self._silent_since is None else self._silent_since
        if now - self._silent_since >= self._settings.lost_after_s:
            self._unsend(row)
            self._begin_stop(
                EndpointLost(f"not reached for {self._settings.lost_after_s:.0f} s: {words}"), 0
            )
            return
        self._later(row, self._uniform(0.5, 2.0))

    def _later(self, row: Row, wait_s: float) -> None:
        self._delayed += 1
        self._loop.call_later(wait_s, self._return, row)

    def _return(self, row: Row) -> None:
        self._delayed -= 1
        self._unsend(row)
        self._pump()

    def _unsend(self, row: Row) -> None:
        row.stream.waiting.appendleft(row)

    def _fail(self, row: Row, failure: Failure) -> None:
        failure = failure._replace(attempts=row.attempts)
        self._done(row, Answer(row.row, None, str(failure), attempts=row.attempts))
        if (reason := self._breaker.failed(failure)) is not None:
            self._begin_stop(reason, 0)

    @staticmethod
    def _done(row: Row, answer: Answer) -> None:
        row.stream.answers.append(answer)
        if not row.stream.arrived.is_set():
            row.stream.arrived.set()
