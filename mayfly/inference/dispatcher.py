"""Send rows up to the concurrency limit, and turn outcomes into answers.

Everything here runs in callbacks of one event loop; nothing blocks and nothing is locked.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from mayfly.inference.concurrency import Limiter
from mayfly.inference.hedging import Hedging
from mayfly.inference.pacing import Pacer
from mayfly.inference.responses import ServerError, read_error
from mayfly.inference.retry_policy import Next, RetryPolicy
from mayfly.inference.row_stream import Attempt, ReadReply, Row, RowStream
from mayfly.inference.row_timeout import RowTimeout
from mayfly.inference.server_error import internal_failure
from mayfly.inference.settings import EngineSettings
from mayfly.inference.status_codes import FAIL_ROW, judge
from mayfly.inference.throttled_log import ThrottledLog
from mayfly.inference.transport.base import NoAnswer, NotSent, Outcome, Reply, Transport
from mayfly.models.errors import MayflyError
from mayfly.models.failures import (
    NO_ANSWER,
    TIMEOUT,
    TOO_LONG,
    UNREADABLE,
    Failure,
    kind_of,
)
from mayfly.models.rows import Answer
from mayfly.models.secrets import without_secrets

TICK_S = 0.5
"""Resolution of request timeouts, and interval at which pacing is reconsidered."""

HELD_UP_S = 2.0
"""Lateness of a tick beyond which the loop was blocked, which must not count as latency."""

RATE_SAMPLES = 64
"""Number of latest answers from which the answer rate is computed."""

IN_TIME_SHARE = 0.9
"""Share of the requests that can be answered before their timeout, at the measured rate, that may
be in flight: more would wait in the server's queue until they time out."""

OLD_FLIGHT_S = 5.0
"""A request in flight for longer than this was not refused."""

FLIGHTS_EVERY_S = 0.1
"""Interval at which all requests in flight are examined while load is refused."""

UNBOUNDED = 1 << 30


class Dispatcher:
    """Sends rows of many streams over one transport, as many at once as the limiter allows.

    A slot is free again once its answer is recorded and written. So at most as many rows as the
    limit are sent but not recorded; only those are sent again after a kill. All answers of one
    iteration of the loop are written together.

    Attributes:
        in_flight: Requests in flight, including those with answers that are not recorded yet.
        delayed: Rows that wait for their next attempt.
        retries: Number of retries.
        reasons: Number of retries by reason: `HTTP 429 rate_limited`, `timeout`, ...
        hedges: Number of second requests for slow rows.
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
        log: Callable[[str], None] = lambda _message: None,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
        most: int = UNBOUNDED,
        secrets: tuple[bytes, ...] = (),
    ) -> None:
        """Initialise; the first call of `tick` starts the timeouts.

        Args:
            end: Called with the error that ends the run.
            log: Receives messages for the user.
            clock: Seconds on a monotonic clock.
            uniform: Source of jitter.
            most: Maximum number of connections of this process.
            secrets: Values to mask in replies.
        """
        self.streams: list[RowStream] = []
        self.in_flight = self.delayed = self.retries = self.hedges = 0
        self.reasons: dict[str, int] = {}
        self._loop, self._transport, self._limiter = loop, transport, limiter
        self._read, self._end, self._clock = read, end, clock
        self._settings, self._secrets = settings, secrets
        self._stopped = self._due = False
        self._freed = 0
        self._all_finished = asyncio.Event()
        self._hedging: Hedging | None = None
        self._joined = self._last = 0
        self._active: set[Attempt] = set()
        self._notes = ThrottledLog(log, clock)
        self._retries = RetryPolicy(settings, uniform=uniform)
        self._pacer = Pacer()
        self._is_paced = False
        self._flights_seen_at, self._old_flight = float("-inf"), 0
        self._refusal = ""
        self._rate_refusals = self._wall_refusals = 0
        self._pace_timer: asyncio.TimerHandle | None = None
        self._timeout = RowTimeout(settings.row_timeout_s, max_tokens=settings.max_tokens)
        self._most = self._bound = most
        self._first_sent_at: float | None = None
        self._ticked_at = clock()
        self._answer_times: deque[float] = deque(maxlen=RATE_SAMPLES)
        # Maximum in flight when an answered request was sent, in this tick and the last.
        self._answered_among = self._answered_among_before = 0
        # Requests that were cancelled, and that a server may still be processing.
        self._abandoned, self._abandoned_at = 0.0, 0.0

    def pump(self) -> None:
        """Record answers, then send waiting rows, up to the limit and the pace."""
        self._due = False
        self._record()
        if self._stopped:
            if not self._active:
                self._all_finished.set()
            return
        room = min(self._limiter.limit, self._bound) - self.in_flight
        if room <= 0:
            return
        now = self._clock()
        paced = self._pacer.room(now)
        room = left = min(room, paced)
        # Rows that are repeated have been paid for once: they go before all others.
        for queue in (*(s.again for s in self.streams), *(s.waiting for s in self.streams)):
            while queue and left > 0:
                self._send(queue.popleft(), now)
                left -= 1
        if room > left:
            self._pacer.sent(room - left)
        if left == 0 and room == paced:
            self._wait_for_pace(now)

    def tick(self) -> None:
        """Cancel requests that have timed out; called once, it reschedules itself."""
        now = self._clock()
        held_up_s, self._ticked_at = now - self._ticked_at - TICK_S, now
        if held_up_s > HELD_UP_S:
            # By a disk, or as a whole: what has come meanwhile is still to be read.
            for attempt in self._active:
                attempt.began += held_up_s
        self._timeout.update()
        longest_s = self._timeout.current_s
        overdue = [
            attempt
            for attempt in self._active
            if now - attempt.began > max(longest_s, attempt.row.timeout_s)
        ]
        for attempt in overdue:
            attempt.call.cancel()
            waited_s = now - attempt.began
            self.finished(attempt, NoAnswer(f"none within {waited_s:.0f} s", timed_out=True))
        self._pacer.roll(now)
        if self._is_paced and self._pacer.rate is None:
            if self._rate_refusals > self._wall_refusals:
                self._limiter.lifted()
            self._rate_refusals = self._wall_refusals = 0
            self._notes.log("lifted", "load is no longer refused; pacing ends")
        self._is_paced = self._pacer.rate is not None
        if self._pacer.rate is not None and self._refusal:
            self._notes.log(
                "refused",
                f"the endpoint refuses load ({self._refusal}); rows wait, "
                f"sending at most {self._pacer.rate:,.0f} requests/s",
            )
            self._refusal = ""
        if self._is_paced and any(now - a.began > OLD_FLIGHT_S for a in self._active):
            self._retries.accepted()
        self._answered_among_before, self._answered_among = self._answered_among, 0
        self._bound = min(self._most, self._answerable(longest_s))
        if self._stopped and not self._active:
            return
        self._loop.call_later(TICK_S, self.tick)

    def hold(self) -> None:
        """Send nothing more; from any thread."""
        self._stopped = True

    async def stop(self, grace_s: float) -> None:
        """Send nothing more; cancel what is still in flight after the grace period, in seconds."""
        self._stopped = True
        if self._active and grace_s > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._all_finished.wait(), grace_s)
        for attempt in self._active:
            attempt.call.cancel()
        self._active.clear()
        self._record()
        self.in_flight = 0

    def proven(self) -> None:
        """Record that the request is valid, whatever happens to the rows here."""
        self._retries.proven()

    def join(self, stream: RowStream) -> None:
        """Add a stream; rows of earlier streams go first."""
        self.streams.append(stream)
        self._joined += 1

    def hedge_after(self, *, calls: int, replicas: int) -> None:
        """Hedge slow rows with empty slots once `calls` streams have joined."""
        self._last = calls
        if self._hedging is None:
            self._hedging = Hedging(replicas=replicas)
            self._hedge()

    # Sending.

    def _send(self, row: Row, now: float) -> None:
        self.in_flight += 1
        if self._first_sent_at is None:
            self._first_sent_at = now
        attempt = Attempt(row, now, self.in_flight, self.finished)
        row.active.append(attempt)
        self._active.add(attempt)
        attempt.call = self._transport.send(row.body, attempt.done)

    def _send_later(self, row: Row, wait_s: float) -> None:
        self.delayed += 1
        self._loop.call_later(wait_s, self._send_again, row)

    def _send_again(self, row: Row) -> None:
        self.delayed -= 1
        self._requeue(row)
        self.pump()

    @staticmethod
    def _requeue(row: Row) -> None:
        row.stream.waiting.appendleft(row)

    def _wait_for_pace(self, now: float) -> None:
        """Schedule `pump` for when the pace allows another request."""
        if self._pace_timer is not None or not any(s.waiting or s.again for s in self.streams):
            return
        self._pace_timer = self._loop.call_later(self._pacer.wait_s(now), self._paced)

    def _paced(self) -> None:
        self._pace_timer = None
        self.pump()

    def _hedge(self) -> None:
        """Send the slowest rows a second time, if nothing else can use the slots."""
        assert self._hedging is not None  # noqa: S101
        if self._stopped:
            return
        room = min(self._limiter.limit, self._bound) - self.in_flight
        idle = self._joined >= self._last and not self.delayed and self._pacer.rate is None
        idle = idle and all(s.exhausted and not s.waiting and not s.again for s in self.streams)
        if idle and room > 0 and self._active:
            now = self._clock()
            alone = [attempt for attempt in self._active if len(attempt.row.active) == 1]
            slow = self._hedging.worth_repeating(
                {attempt: now - attempt.began for attempt in alone}, room=room
            )
            for attempt in slow:
                self.hedges += 1
                self._send(attempt.row, now)
        self._loop.call_later(self._hedging.poll_every_s, self._hedge)

    # Outcomes.

    def finished(self, attempt: Attempt, outcome: Outcome) -> None:
        """Process an attempt's outcome; its slot is free once this iteration's are recorded."""
        self._freed += 1
        self._active.discard(attempt)
        in_row = attempt.row.active
        if attempt in in_row:
            in_row.remove(attempt)
        try:
            self._take(attempt, outcome)
        except Exception as error:  # noqa: BLE001 - a row must never keep its slot
            self._fail_internally(attempt.row, error)
        if not self._due:
            self._due = True
            self._loop.call_soon(self.pump)

    def _take(self, attempt: Attempt, outcome: Outcome) -> None:
        row = attempt.row
        if isinstance(outcome, Reply):
            row.attempts += 1
            for secret in self._secrets:
                if secret in outcome.body:
                    clean = without_secrets(outcome.body, self._secrets)
                    outcome = outcome._replace(body=clean)
                    break
            # An answer by any other success, such as 201, is paid for too.
            if outcome.status == 200 or (200 <= outcome.status < 300 and outcome.body):
                self._answered(attempt, outcome)
            else:
                self._refused(attempt, outcome, read_error(outcome.status, outcome.body))
        elif isinstance(outcome, NotSent):
            self._notes.log("silence", f"cannot connect: {outcome}; waiting for it")
            self._apply(row, self._retries.silence(outcome, self._clock()), "silence")
        elif outcome.timed_out:
            row.attempts += 1
            self._timed_out(attempt, self._clock())
        else:
            row.attempts += 1
            failure = Failure(NO_ANSWER, str(outcome))
            self._apply(row, self._retries.again(row, failure), NO_ANSWER)

    def _record(self) -> None:
        """Record and write the answers of this iteration, which frees their slots."""
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
        row, now = attempt.row, self._clock()
        latency_s = now - attempt.began
        answer = self._read(row.row, reply.body, row.attempts + len(row.active), latency_s)
        if isinstance(answer, ServerError):  # A 200 with an error in its body.
            self._refused(attempt, reply, answer)
            return
        if answer.failure is not None and answer.failure.kind == UNREADABLE:
            self._apply(row, self._retries.again(row, answer.failure), UNREADABLE)
            return
        self._settle(row, answer)
        # The rest only measures: the row is settled in any case.
        self._retries.answered(row, attempt.began)
        work = answer.completion_tokens or answer.prompt_tokens or 1
        self._answer_times.append(now)
        self._timeout.answered((latency_s, work))
        if attempt.in_flight > self._answered_among:  # noqa: PLR1730 - quicker than max()
            self._answered_among = attempt.in_flight
        self._limiter.answered(now, latency_s=latency_s, in_flight=self.in_flight, work=work)
        if self._hedging is not None:
            self._hedging.answered(latency_s, work)

    def _refused(self, attempt: Attempt, reply: Reply, error: ServerError) -> None:
        row, now = attempt.row, self._clock()
        status, code, message = error
        kind = kind_of(status, code, message)
        verdict = FAIL_ROW if kind == TOO_LONG else judge(status, code, reply.header)
        failure = Failure(kind, message, status, code)
        reason = f"HTTP {status} {kind}"
        if not verdict.refused_load:
            if verdict.overload:
                self._overloaded(now)
            self._apply(row, self._retries.refused(row, verdict, failure, now), reason)
            return
        self._pacer.refused(now, sent_at_s=attempt.began, retry_after_s=verdict.retry_after_s)
        if self._is_wall(attempt, now) and not self._pacer.background.explains():
            self._wall_refusals += 1
            self._overloaded(now)
        else:
            self._rate_refusals += 1
        self._refusal = f"HTTP {status}: {message}"
        if verdict.capped:
            self._notes.once(
                "retry-after",
                f"the endpoint asks to wait {verdict.asked_s:,.0f} s; "
                f"waiting {verdict.retry_after_s:.0f} s",
            )
        if (share := self._pacer.background.share) > 0:
            which = f"{share:.0%} of requests are refused whatever the rate ({self._refusal})"
            self._notes.once("background", f"{which}; sending them again")
        spread = self._pacer.rate is not None or share > 0
        then = self._retries.refused_load(row, verdict, failure, now, spread=spread)
        self._apply(row, then, reason)

    def _is_wall(self, attempt: Attempt, now: float) -> bool:
        """Whether a refusal is due to too many in flight, rather than too many per second.

        If so, requests that were sent with fewer in flight are accepted, and only others are not.
        """
        accepted = max(self._answered_among, self._answered_among_before)
        if attempt.in_flight <= accepted:
            return False
        if now - self._flights_seen_at > FLIGHTS_EVERY_S:
            self._flights_seen_at = now
            old = now - max(10 * (now - attempt.began), 0.1)
            self._old_flight = max((a.in_flight for a in self._active if a.began < old), default=0)
        return 0 < max(accepted, self._old_flight) < attempt.in_flight

    def _timed_out(self, attempt: Attempt, now: float) -> None:
        """Handle a row with a request that timed out, and adjust the limit for the others."""
        row, waited_s = attempt.row, now - attempt.began
        self._overloaded(now)
        rate = self._rate()
        ahead = attempt.in_flight + self._still_abandoned(now)
        # More were ahead of it than can be answered in that time: it was queued behind others.
        queued = rate is not None and ahead > max(rate * waited_s, 1.0)
        self._abandoned = self._still_abandoned(now) + 1
        self._abandoned_at = now
        last = self._answer_times[-1] if self._answer_times else self._first_sent_at or now
        hangs_s = now - last if now - last >= 2 * self._timeout.current_s else 0.0
        then = self._retries.timed_out(
            row, waited_s, given=self._timeout.given, queued=queued, hangs_s=hangs_s
        )
        if then.failure is None and then.ends is None:
            self._notes.once(
                "timeout",
                f"row {row.row}: no answer within {waited_s:.0f} s; "
                + (
                    "lowering the concurrency, since requests wait for each other"
                    if queued
                    else f"sending it again, for up to {row.timeout_s:.0f} s (--row-timeout)"
                ),
            )
        elif then.failure is not None:
            self._notes.once(
                "timeout", f"row {row.row}: no answer within {waited_s:.0f} s (--row-timeout)"
            )
        self._apply(row, then, TIMEOUT)

    def _still_abandoned(self, now: float) -> float:
        """Return how many cancelled requests a server may still be processing."""
        rate = self._rate() or 0.0
        return max(0.0, self._abandoned - rate * (now - self._abandoned_at))

    def _rate(self) -> float | None:
        """Return answers per second over the latest answers; None before the second answer."""
        times = self._answer_times
        if len(times) < 2 or self._first_sent_at is None:
            return None
        if len(times) < RATE_SAMPLES:
            return len(times) / max(times[-1] - self._first_sent_at, 1e-3)
        return len(times) / max(times[-1] - times[0], 1e-3)

    def _answerable(self, longest_s: float) -> int:
        """Return how many requests in flight can be answered before their timeout."""
        rate = self._rate()
        return UNBOUNDED if rate is None else max(1, int(IN_TIME_SHARE * rate * longest_s))

    def _overloaded(self, now: float) -> None:
        self._limiter.overloaded(now, in_flight=self.in_flight - self._freed)

    def _apply(self, row: Row, then: Next, reason: str) -> None:
        """Apply the decision about a row that was not answered; `reason` is counted."""
        if then.ends is not None:
            self._requeue(row)
            self._stop_for(then.ends)
        elif row.active:  # Hedged: the other request may still be answered.
            return
        elif then.failure is not None:
            failure = then.failure._replace(attempts=row.attempts)
            self._settle(row, Answer(row.row, None, failure, attempts=row.attempts))
            if not then.refused_alone and (ends := self._retries.given_up(failure)) is not None:
                self._stop_for(ends)
        elif then.wait_s is not None:
            self.retries += 1
            self.reasons[reason] = self.reasons.get(reason, 0) + 1
            if then.wait_s > 0:
                self._send_later(row, then.wait_s)
            else:
                self._requeue(row)

    def _fail_internally(self, row: Row, error: Exception) -> None:
        """Settle a row after an internal error while its answer was processed; logged once."""
        failure = internal_failure(error, row.attempts)
        self._notes.once("internal", f"row {row.row}: {failure.message}; please report this")
        if not row.settled:
            self._settle(row, Answer(row.row, None, failure, attempts=row.attempts))

    def _stop_for(self, reason: MayflyError) -> None:
        self._stopped = True
        self._end(reason)

    def _settle(self, row: Row, answer: Answer) -> None:
        """Pass an answer on for recording, and cancel the other requests of its row."""
        row.settled = True
        # References to the row must not keep megabytes alive.
        row.body = b""
        if row.active:
            for rival in row.active:
                rival.call.cancel()
                self._active.remove(rival)
                self._freed += 1
            row.active.clear()
        row.stream.answers.append(answer)
