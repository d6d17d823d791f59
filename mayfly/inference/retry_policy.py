"""Decide about a row that was not answered: retry after a wait, give up, or end the run.

The state shared by all rows is kept here: whether any was answered, how many got a fatal response,
since when the endpoint is unreachable, and since when load is refused.
"""

from collections.abc import Callable
from typing import NamedTuple

from mayfly.backoff import delay_s
from mayfly.inference.circuit_breaker import CircuitBreaker
from mayfly.inference.row_stream import Row, Trouble
from mayfly.inference.settings import EngineSettings
from mayfly.inference.status_codes import Action, Verdict
from mayfly.inference.transport.base import NotSent
from mayfly.models.errors import CredentialsRefused, EndpointLost, MayflyError, TerminalError
from mayfly.models.failures import TIMEOUT, Failure

LONGER = 2.0
"""Factor of the timeout for the one retry of a row that has timed out."""

MAX_QUEUED_TIMEOUTS = 5
"""Timeouts due to a queue that a row may have before the next one counts as its own."""

AFFECTED_ROWS = 8
"""Rows that must have timed out, or been refused, since the last answer for it to be due to the
endpoint."""

FREE_REFUSALS = 3
"""Refusals of a row before it backs off individually, while sending is paced or a share of requests
is refused whatever the load is."""

ALONE = 3
"""Refusals of a row, between which most other rows were answered at once, from which they are due
to the row. One of these must have been sent in between: what was sent before may be answered while
everything else is refused."""

REFUSAL_CAP_S = 4.0
"""Maximum jitter of a row that was refused while others were not, in seconds."""


class Next(NamedTuple):
    """The next step for a row; exactly one of the first three fields is set.

    Attributes:
        wait_s: Send the row again after this many seconds.
        failure: Give the row up.
        ends: End the run; the row stays unanswered.
        refused_alone: With `failure`: the endpoint answers other rows.
    """

    wait_s: float | None = None
    failure: Failure | None = None
    ends: MayflyError | None = None
    refused_alone: bool = False


class RetryPolicy:
    """Decides for all rows of an engine. Times are seconds on any monotonic clock."""

    def __init__(
        self, settings: EngineSettings, *, uniform: Callable[[float, float], float]
    ) -> None:
        self._settings, self._uniform = settings, uniform
        self._breaker = CircuitBreaker(proven=settings.proven)
        self._fatal_rows: set[int] = set()
        self._timed_out_rows: set[int] = set()
        self._refused_rows: set[int] = set()
        self._ever_answered = False
        # Rows that were answered at once, the latest time at which one was sent, and rows that
        # were refused.
        self._answered_at_once = self._rows_refused = 0
        self._answered_sent_at = float("-inf")
        self._silent_since: float | None = None
        self._refused_since: float | None = None
        self._troubled = False

    def answered(self, row: Row, sent_at_s: float) -> None:
        """Record that a row was answered: the endpoint works and the request is valid."""
        if row.trouble is None:
            self._answered_at_once += 1
            self._answered_sent_at = max(self._answered_sent_at, sent_at_s)
        if not self._ever_answered or self._troubled:
            self._silent_since = self._refused_since = None
            self._ever_answered, self._troubled = True, False
            self._fatal_rows.clear()
            self._timed_out_rows.clear()
            self._refused_rows.clear()
        self._breaker.answered()

    def accepted(self) -> None:
        """Record that requests are in flight that were not refused."""
        self._refused_since = None
        self._refused_rows.clear()

    def proven(self) -> None:
        """Record that another process has answered rows: the request is valid."""
        self._ever_answered = True
        self._breaker.prove()

    def refused(self, row: Row, verdict: Verdict, failure: Failure, now_s: float) -> Next:
        """Decide after an HTTP response that is neither 200 nor refused load."""
        match verdict.action:
            case Action.RETRY:
                return self.again(row, failure, retry_after_s=verdict.retry_after_s)
            case Action.WAIT_FOR_ROUTE:
                return self.silence(NotSent(str(failure)), now_s)
            case Action.END_CREDENTIALS | Action.END_ENDPOINT:
                return self._fatal(row, verdict, failure)
            case Action.FAIL_ROW:
                return Next(failure=failure)

    def again(self, row: Row, failure: Failure, *, retry_after_s: float | None = None) -> Next:
        """Retry, or give the row up if its attempts are used up."""
        trouble = row.in_trouble()
        trouble.failed += 1
        if trouble.failed >= self._settings.row_attempts:
            return Next(failure=failure)
        return Next(
            delay_s(
                self._settings.backoff,
                trouble.failed,
                retry_after_s=retry_after_s,
                uniform=self._uniform,
            )
        )

    def refused_load(
        self, row: Row, verdict: Verdict, failure: Failure, now_s: float, *, spread: bool
    ) -> Next:
        """Let a row wait after refused load, which costs no attempt but is limited in time.

        Args:
            spread: Whether the row need not back off at first: sending is paced, or a share of
                requests is refused whatever the load is.
        """
        trouble, most_s = row.in_trouble(), self._settings.refused_for_s
        if self._refused_since is None:
            self._refused_since, self._troubled = now_s, True
        if trouble.refused_since is None:
            trouble.refused_since = now_s
            self._rows_refused += 1
            trouble.counted_from = now_s, self._answered_at_once, self._rows_refused
        trouble.refusals += 1
        alone = self._is_refused_alone(trouble, now_s)
        (self._refused_rows.discard if alone else self._refused_rows.add)(row.row)
        lasts_s, others = now_s - trouble.refused_since, len(self._refused_rows)
        if now_s - self._refused_since >= most_s and others >= AFFECTED_ROWS:
            return Next(
                ends=EndpointLost(f"nothing but refused load for {most_s:.0f} s: {failure}")
            )
        # While other rows are refused as well, such a row waits with them.
        alone = alone and others < AFFECTED_ROWS
        if lasts_s >= (min(self._settings.refused_alone_s, most_s) if alone else most_s):
            self._refused_rows.discard(row.row)
            message = f"{failure.message} ({trouble.refusals} times in {lasts_s:.0f} s"
            message += ", while other rows were answered)" if alone else ")"
            return Next(failure=failure._replace(message=message), refused_alone=alone)
        asked_s = verdict.retry_after_s or 0.0
        if spread and trouble.refusals <= FREE_REFUSALS:
            return Next(asked_s + self._uniform(0.0, 0.1 * asked_s))
        backoff = self._settings.backoff
        nth = trouble.refusals - FREE_REFUSALS * spread
        longest_s = min(backoff.base_s * 2.0 ** min(nth - 1, 60), REFUSAL_CAP_S)
        return Next(asked_s + self._uniform(0.0, min(longest_s, backoff.cap_s)))

    def _is_refused_alone(self, trouble: Trouble, now_s: float) -> bool:
        """Whether a row that is refused now is refused for itself; see `ALONE`."""
        since_s, answered, refused = trouble.counted_from
        if (
            self._answered_sent_at > since_s
            and self._answered_at_once - answered > self._rows_refused - refused
        ):
            trouble.refused_alone += 1
            trouble.counted_from = now_s, self._answered_at_once, self._rows_refused
        return trouble.refused_alone >= ALONE

    def timed_out(
        self, row: Row, waited_s: float, *, given: bool, queued: bool, hangs_s: float
    ) -> Next:
        """Decide about a row that has timed out; it is never just repeated.

        Args:
            given: Whether the user has set the timeout.
            queued: Whether it was queued behind others: then it costs no attempt.
            hangs_s: Time since the last answer, if it is more than twice the timeout; else 0.
        """
        self._timed_out_rows.add(row.row)
        self._troubled = True
        if len(self._timed_out_rows) >= AFFECTED_ROWS and hangs_s:
            return Next(
                ends=EndpointLost(
                    f"no request was answered for {hangs_s:.0f} s "
                    f"({len(self._timed_out_rows)} rows timed out)"
                )
            )
        trouble = row.in_trouble()
        if queued and trouble.queued_timeouts < MAX_QUEUED_TIMEOUTS:
            trouble.queued_timeouts += 1
            return Next(0.0)
        trouble.timeouts += 1
        if given or trouble.timeouts > 1:
            return Next(
                failure=Failure(
                    TIMEOUT,
                    f"none within {waited_s:.0f} s; raise --row-timeout, or lower --max-tokens "
                    "or --concurrency, and run again with --retry-failed",
                )
            )
        row.timeout_s = LONGER * waited_s
        return Next(0.0)

    def silence(self, reason: NotSent, now_s: float) -> Next:
        """Wait for an endpoint that is unreachable; this costs the row no attempt."""
        if self._silent_since is None:
            self._silent_since, self._troubled = now_s, True
        patience_s = self._settings.lost_after_s
        if reason.patience_s is not None and not self._ever_answered:
            patience_s = min(patience_s, reason.patience_s)
            if now_s - self._silent_since >= patience_s:
                return Next(ends=TerminalError(f"cannot reach the endpoint: {reason}"))
        elif now_s - self._silent_since >= patience_s:
            return Next(ends=EndpointLost(f"not reached for {patience_s:.0f} s: {reason}"))
        return Next(self._uniform(0.5, 2.0))

    def given_up(self, failure: Failure) -> MayflyError | None:
        """Record a row that finally failed; return the error that ends the run, or None."""
        return self._breaker.failed(failure)

    def _fatal(self, row: Row, verdict: Verdict, failure: Failure) -> Next:
        """End the run if consecutive rows have fatal responses; otherwise retry this row."""
        self._fatal_rows.add(row.row)
        self._troubled = True
        exhausted = row.in_trouble().failed + 1 >= self._settings.row_attempts
        if (
            verdict.at_once
            or len(self._fatal_rows) >= self._settings.fatal_in_a_row
            or (exhausted and not self._ever_answered)
        ):
            if verdict.action is Action.END_CREDENTIALS:
                return Next(ends=CredentialsRefused(f"inference was refused: {failure}"))
            return Next(ends=EndpointLost(f"consecutive rows failed: {failure}"))
        # Other rows were answered, so the row itself fails once its attempts are used up.
        return self.again(row, failure)
