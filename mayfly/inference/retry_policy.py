"""Decide about a row that was not answered: retry after a wait, give up, or end the run.

The state shared by all rows is kept here: whether any was answered, how many got a fatal response,
since when the endpoint is unreachable, and since when load is refused.
"""

from collections.abc import Callable
from typing import NamedTuple

from mayfly.backoff import delay_s
from mayfly.inference.circuit_breaker import CircuitBreaker
from mayfly.inference.row_stream import Row
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
"""Refusals of a row during pacing before it also backs off individually."""

REFUSAL_CAP_S = 4.0
"""Maximum jitter of a row that was refused while others were not, in seconds."""


class Next(NamedTuple):
    """The next step for a row; exactly one field is set.

    Attributes:
        wait_s: Send the row again after this many seconds.
        failure: Give the row up.
        ends: End the run; the row stays unanswered.
    """

    wait_s: float | None = None
    failure: Failure | None = None
    ends: MayflyError | None = None


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
        self._silent_since: float | None = None
        self._refused_since: float | None = None
        self._troubled = False

    def answered(self) -> None:
        """Record that a row was answered: the endpoint works and the request is valid."""
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
        self, row: Row, verdict: Verdict, failure: Failure, now_s: float, *, paced: bool
    ) -> Next:
        """Let a row wait after refused load, which costs no attempt but is limited in time.

        Args:
            paced: Whether sending is paced; otherwise only this row waits.
        """
        trouble, most_s = row.in_trouble(), self._settings.refused_for_s
        if self._refused_since is None:
            self._refused_since, self._troubled = now_s, True
        if trouble.refused_since is None:
            trouble.refused_since = now_s
        trouble.refusals += 1
        self._refused_rows.add(row.row)
        # A few rows have individual time limits.
        if now_s - self._refused_since >= most_s and len(self._refused_rows) >= AFFECTED_ROWS:
            return Next(
                ends=EndpointLost(f"nothing but refused load for {most_s:.0f} s: {failure}")
            )
        if now_s - trouble.refused_since >= most_s:
            return Next(failure=failure)
        asked_s = verdict.retry_after_s or 0.0
        if paced and trouble.refusals <= FREE_REFUSALS:
            # Pacing already spreads the rows.
            return Next(asked_s + self._uniform(0.0, 0.1 * asked_s))
        backoff = self._settings.backoff
        longest_s = min(backoff.base_s * 2.0 ** min(trouble.refusals - 1, 60), REFUSAL_CAP_S)
        return Next(asked_s + self._uniform(0.0, min(longest_s, backoff.cap_s)))

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
