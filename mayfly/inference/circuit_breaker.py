"""Decide when failing rows mean that the request or the endpoint is broken, and not the rows.

A poisonous row, or a thousand of them among good ones, must not stop a run; a request that no row
can succeed with must not burn a dataset. What tells them apart is whether any row was answered.
"""

import re

from mayfly.models import failures as f
from mayfly.models.errors import EndpointLost, MayflyError, TerminalError
from mayfly.models.failures import Failure

_SICK = frozenset({f.RATE_LIMITED, f.OVERLOADED, f.TIMEOUT, f.SERVER_ERROR, f.NO_ANSWER})
"""Classes that speak of the endpoint: rows that end so were given up after all their attempts."""

_OF_THE_ROW = frozenset(
    {
        *(f.NULL_PROMPT, f.TEMPLATE, f.BAD_MESSAGES, f.BAD_CELL, f.BAD_BODY, f.BAD_MEDIA),
        *(f.MEDIA_FILE, f.TOO_LONG),
    }
)
"""Classes that speak of the row alone: they cost the endpoint nothing, however many there are."""

_NUMBER = re.compile(r"\d+")


class CircuitBreaker:
    """Counts rows that fail one after another without an answer in between.

    Args:
        rows: So many of them mean that the next one would fail too.
        proven: Whether rows of this job were answered before: then the request is sound.
    """

    def __init__(self, *, rows: int = 64, proven: bool = False) -> None:
        self._rows = rows
        self._proven = proven
        self._sick = 0
        self._alike: tuple[object, ...] = ()
        self._count = 0

    def answered(self) -> None:
        """Note a row that was answered."""
        self._proven = True
        self._sick = 0

    def prove(self) -> None:
        """Note that rows of the job are answered elsewhere: the request is sound."""
        self._proven = True

    def failed(self, failure: Failure) -> MayflyError | None:
        """Note a row that failed for good; return what ends the run, or None.

        Rows that were given up on one after another with nothing answered in between mean a sick
        endpoint, at any time. The same refusal for every row from the first one on, numbers
        aside, means a request that cannot work: after one answer this is never concluded.
        """
        if failure.kind in _SICK:
            self._sick += 1
            if self._sick >= self._rows:
                return EndpointLost(f"{self._sick} rows in a row were given up, the last {failure}")
            return None
        if self._proven or failure.kind in _OF_THE_ROW:
            return None
        message = "" if failure.kind == f.SCHEMA else _NUMBER.sub("#", failure.message)
        alike = (failure.kind, failure.status, failure.code, message)
        self._count = self._count + 1 if alike == self._alike else 1
        self._alike = alike
        if self._count < self._rows:
            return None
        return TerminalError(
            f"each of the first {self._count} rows failed alike, {failure}; fix the request and "
            "use a new --output, or run again with --retry-failed if it is correct"
        )
