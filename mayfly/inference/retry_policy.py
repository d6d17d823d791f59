"""What becomes of a row that was not answered: again after a wait, given up, or the run's end.

What rows have in common is kept here: whether any was answered, how many met the same fatal
answer, and since when nothing has been reached.
"""

from collections.abc import Callable
from typing import NamedTuple

from mayfly.backoff import delay_s
from mayfly.inference.circuit_breaker import CircuitBreaker
from mayfly.inference.settings import EngineSettings
from mayfly.inference.status_codes import Action, Verdict
from mayfly.models.errors import CredentialsRefused, EndpointLost, MayflyError
from mayfly.models.failures import Failure


class Next(NamedTuple):
    """What happens now; exactly one is set.

    Attributes:
        wait_s: The row is sent again after so many seconds.
        failure: The row is given up.
        ends: The run ends; the row stays unanswered.
    """

    wait_s: float | None = None
    failure: Failure | None = None
    ends: MayflyError | None = None


class RetryPolicy:
    """Decides for all rows of an engine. Times are seconds on any forward clock."""

    def __init__(
        self, settings: EngineSettings, *, uniform: Callable[[float, float], float]
    ) -> None:
        self._settings, self._uniform = settings, uniform
        self._breaker = CircuitBreaker(proven=settings.proven)
        self._fatal_rows: set[int] = set()
        self._ever_answered = False
        self._silent_since: float | None = None

    def answered(self) -> None:
        """Take note that a row was answered: the endpoint is there and the request is sound."""
        if not self._ever_answered or self._silent_since is not None or self._fatal_rows:
            self._silent_since, self._ever_answered = None, True
            self._fatal_rows.clear()
        self._breaker.answered()

    def proven(self) -> None:
        """Take note that rows are answered elsewhere, which says nothing of those here."""
        self._ever_answered = True
        self._breaker.prove()

    def refused(
        self, row: int, attempts: int, verdict: Verdict, failure: Failure, now_s: float
    ) -> Next:
        """Decide after an HTTP answer that is not 200."""
        match verdict.action:
            case Action.RETRY:
                return self.again(attempts, failure, retry_after_s=verdict.retry_after_s)
            case Action.WAIT_FOR_ROUTE:
                return self.silence(str(failure), now_s)
            case Action.END_CREDENTIALS | Action.END_ENDPOINT:
                return self._fatal(row, attempts, verdict, failure)
            case Action.FAIL_ROW:
                return Next(failure=failure)

    def again(self, attempts: int, failure: Failure, *, retry_after_s: float | None = None) -> Next:
        """Try again, or give the row up when its attempts are used up."""
        if attempts >= self._settings.row_attempts:
            return Next(failure=failure)
        backoff = self._settings.backoff
        return Next(delay_s(backoff, attempts, retry_after_s=retry_after_s, uniform=self._uniform))

    def silence(self, words: str, now_s: float) -> Next:
        """Wait for an endpoint that cannot be reached yet; no attempt of the row is used up."""
        self._silent_since = now_s if self._silent_since is None else self._silent_since
        borne_s = self._settings.lost_after_s
        if now_s - self._silent_since >= borne_s:
            return Next(ends=EndpointLost(f"not reached for {borne_s:.0f} s: {words}"))
        return Next(self._uniform(0.5, 2.0))

    def given_up(self, failure: Failure) -> MayflyError | None:
        """Take note of a row that failed for good; return what ends the run, or None."""
        return self._breaker.failed(failure)

    def _fatal(self, row: int, attempts: int, verdict: Verdict, failure: Failure) -> Next:
        """End the run when row after row meets what no row can mend; else try this one again."""
        self._fatal_rows.add(row)
        exhausted = attempts >= self._settings.row_attempts
        if (
            verdict.at_once
            or len(self._fatal_rows) >= self._settings.fatal_in_a_row
            or (exhausted and not self._ever_answered)
        ):
            if verdict.action is Action.END_CREDENTIALS:
                return Next(ends=CredentialsRefused(f"inference was refused: {failure}"))
            return Next(ends=EndpointLost(f"row after row was answered {failure}"))
        # Others were answered: once its attempts are used up, the row itself is at fault.
        return self.again(attempts, failure)
