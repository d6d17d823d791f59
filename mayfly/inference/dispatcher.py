"""What happens on the loop: rows are sent up to the limit, and outcomes become answers.

Everything here runs on one event loop, in callbacks; nothing blocks and nothing is locked.
"""

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress

from mayfly.inference.concurrency import Limiter
from mayfly.inference.hedging import Hedging
from mayfly.inference.responses import ServerError, read_error
from mayfly.inference.retry_policy import Next, RetryPolicy
from mayfly.inference.row_stream import ReadReply, Row, RowStream
from mayfly.inference.settings import EngineSettings
from mayfly.inference.status_codes import judge
from mayfly.inference.transport.base import Call, NotSent, Outcome, Reply, Transport
from mayfly.models.errors import MayflyError
from mayfly.models.failures import NO_ANSWER, UNREADABLE, Failure, kind_of
from mayfly.models.rows import Answer


class Attempt:
    """One request under way."""

    __slots__ = ("began", "call", "row", "sender")

    def __init__(self, sender: "Dispatcher", row: Row) -> None:
        self.sender, self.row = sender, row
        self.began = time.monotonic()
        self.call: Call = sender.transport.send(row.body, self.done)

    def done(self, outcome: Outcome) -> None:
        """Take what has come of it."""
        self.sender.landed(self, outcome)


class Dispatcher:
    """Sends rows of many streams over one transport, as many at once as a limiter allows.

    A place is free again when the answer that freed it is recorded and written, so that never more
    rows than the limit allows are sent and not on record: these a run that is killed sends again.
    All answers of one turn of the loop are written together.

    Attributes:
        in_flight: Requests under way, and those whose answers are not recorded yet.
        delayed: Rows that wait for their next attempt.
        retries: Attempts that had to be repeated.
        hedges: Second requests for rows whose first was slow.
    """

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        transport: Transport,
        limiter: Limiter,
        settings: EngineSettings,
        read: ReadReply,
        end: Callable[[MayflyError], None],
    ) -> None:
        self.transport = transport
        self.streams: list[RowStream] = []
        self.in_flight = self.delayed = self.retries = self.hedges = 0
        self._loop, self._limiter = loop, limiter
        self._read, self._end = read, end
        self._stopped = self._due = False
        self._freed = 0
        self._landed_all = asyncio.Event()
        self._hedging: Hedging | None = None
        self._joined = self._last = 0
        self._flying: set[Attempt] = set()
        self._retries = RetryPolicy(
            settings,
            uniform=random.Random().uniform,  # noqa: S311 - jitter, not secrets
        )

    def pump(self) -> None:
        """Record what has come, then send what waits, up to the limit."""
        self._due = False
        self._record()
        room = self._limiter.limit - self.in_flight
        if self._stopped:
            if not self._flying:
                self._landed_all.set()
            return
        # Of rows to be asked again an answer was paid for: they go before all others.
        for queue in (*(s.again for s in self.streams), *(s.waiting for s in self.streams)):
            while queue and room > 0:
                self._send(queue.popleft())
                room -= 1

    async def stop(self, grace_s: float) -> None:
        """Send nothing more; give up what is still under way after the grace, in seconds."""
        self._stopped = True
        if self._flying and grace_s > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._landed_all.wait(), grace_s)
        for attempt in self._flying:
            attempt.call.cancel()
        self._flying.clear()
        self._record()
        self.in_flight = 0

    def proven(self) -> None:
        """Take note that the request is sound, whatever becomes of the rows here."""
        self._retries.proven()

    def join(self, stream: RowStream) -> None:
        """Take a stream in; rows of earlier ones go first."""
        self.streams.append(stream)
        self._joined += 1

    def nothing_follows(self, *, calls: int, replicas: int) -> None:
        """Once so many streams have come, empty places may be used to hedge slow rows."""
        self._last = calls
        if self._hedging is None:
            self._hedging = Hedging(replicas=replicas)
            self._hedge()

    # Rows going out.

    def _send(self, row: Row) -> None:
        self.in_flight += 1
        attempt = Attempt(self, row)
        row.flying.append(attempt)
        self._flying.add(attempt)

    def _later(self, row: Row, wait_s: float) -> None:
        self.delayed += 1
        self._loop.call_later(wait_s, self._return, row)

    def _return(self, row: Row) -> None:
        self.delayed -= 1
        self._unsend(row)
        self.pump()

    @staticmethod
    def _unsend(row: Row) -> None:
        row.stream.waiting.appendleft(row)

    def _hedge(self) -> None:
        """Send the slowest rows a second time, when nothing else can use their places."""
        assert self._hedging is not None  # noqa: S101
        if self._stopped:
            return
        room = self._limiter.limit - self.in_flight
        idle = self._joined >= self._last and not self.delayed
        idle = idle and all(s.dry and not s.waiting and not s.again for s in self.streams)
        if idle and room > 0 and self._flying:
            now = time.monotonic()
            alone = [attempt for attempt in self._flying if len(attempt.row.flying) == 1]
            slow = self._hedging.worth_repeating(
                {attempt: now - attempt.began for attempt in alone}, room=room
            )
            for attempt in slow:
                self.hedges += 1
                self._send(attempt.row)
        self._loop.call_later(self._hedging.look_every_s, self._hedge)

    # Outcomes coming in.

    def landed(self, attempt: Attempt, outcome: Outcome) -> None:
        """Take what has come of an attempt; its place is free when this turn's are recorded."""
        self._freed += 1
        self._flying.remove(attempt)
        row = attempt.row
        row.flying.remove(attempt)
        if isinstance(outcome, Reply):
            row.attempts += 1
            if outcome.status == 200:
                self._answered(attempt, outcome)
            else:
                self._refused(row, outcome, read_error(outcome.status, outcome.body))
        elif isinstance(outcome, NotSent):
            self._go_on(row, self._retries.silence(str(outcome), time.monotonic()))
        else:
            row.attempts += 1
            if outcome.timed_out:
                self._overloaded(time.monotonic())
            failure = Failure(NO_ANSWER, str(outcome))
            self._go_on(row, self._retries.again(row.attempts, failure))
        if not self._due:
            self._due = True
            self._loop.call_soon(self.pump)

    def _record(self) -> None:
        """Have the answers of this turn recorded and written; their places are free then."""
        for stream in self.streams:
            if not stream.answers or stream.error is not None:
                continue
            try:
                stream.record()
            except Exception as error:  # noqa: BLE001 - it is raised where the rows come from
                stream.fail(error)
                if isinstance(error, MayflyError):
                    self._stop_for(error)
        self.in_flight -= self._freed
        self._freed = 0

    def _answered(self, attempt: Attempt, reply: Reply) -> None:
        row, now = attempt.row, time.monotonic()
        latency_s = now - attempt.began
        answer = self._read(row.row, reply.body, row.attempts + len(row.flying), latency_s)
        if isinstance(answer, ServerError):  # A 200 with the body of an error.
            self._refused(row, reply, answer)
            return
        if answer.failure is not None and answer.failure.kind == UNREADABLE:
            self._go_on(row, self._retries.again(row.attempts, answer.failure))
            return
        self._retries.answered()
        work = answer.completion_tokens or answer.prompt_tokens or 1
        self._limiter.answered(now, latency_s=latency_s, in_flight=self.in_flight, work=work)
        if self._hedging is not None:
            self._hedging.answered(latency_s, work)
        self._settle(row, answer)

    def _refused(self, row: Row, reply: Reply, error: ServerError) -> None:
        now = time.monotonic()
        status, code, words = error
        verdict = judge(status, code, reply.header)
        if verdict.overload or verdict.refused_load:
            self._overloaded(now)
        failure = Failure(kind_of(status, code, words), words, status, code)
        self._go_on(row, self._retries.refused(row.row, row.attempts, verdict, failure, now))

    def _overloaded(self, now: float) -> None:
        self._limiter.overloaded(now, in_flight=self.in_flight - self._freed)

    def _go_on(self, row: Row, then: Next) -> None:
        """Do what was decided about a row that was not answered."""
        if then.ends is not None:
            self._unsend(row)
            self._stop_for(then.ends)
        elif row.flying:  # It was hedged: the other request may still be answered.
            return
        elif then.failure is not None:
            failure = then.failure._replace(attempts=row.attempts)
            self._settle(row, Answer(row.row, None, failure, attempts=row.attempts))
            if (reason := self._retries.given_up(failure)) is not None:
                self._stop_for(reason)
        elif then.wait_s is not None:
            self.retries += 1
            self._later(row, then.wait_s)

    def _stop_for(self, reason: MayflyError) -> None:
        self._stopped = True
        self._end(reason)

    def _settle(self, row: Row, answer: Answer) -> None:
        """Hand an answer over for recording; what else is under way for its row is given up."""
        for rival in row.flying:
            rival.call.cancel()
            self._flying.remove(rival)
            self._freed += 1
        row.flying.clear()
        row.stream.take(answer)
