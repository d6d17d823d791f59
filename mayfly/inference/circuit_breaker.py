"""Decide when failing rows mean that the request or the endpoint is broken rather than the rows.

A thousand bad rows among good ones must not stop a run. A request that fails for every row must
not waste a dataset. The difference is whether any row was answered.
"""

import re

from mayfly.models import failures as f
from mayfly.models.errors import EndpointLost, MayflyError, TerminalError
from mayfly.models.failures import Failure

_SICK = frozenset({f.RATE_LIMITED, f.OVERLOADED, f.TIMEOUT, f.SERVER_ERROR, f.NO_ANSWER})
"""Classes that are due to the endpoint: such rows were given up after all their attempts."""

_OF_THE_ROW = frozenset(
    {
        *(f.NULL_PROMPT, f.TEMPLATE, f.BAD_MESSAGES, f.BAD_CELL, f.BAD_BODY, f.BAD_MEDIA),
        *(f.MEDIA_FILE, f.TOO_LONG),
    }
)
"""Classes that are due to the row alone: they cost the endpoint nothing, however many there are."""

_NUMBER = re.compile(r"\d+")


class CircuitBreaker:
    """Counts consecutive failed rows without an answer in between.

    Args:
        rows: Consecutive failures after which the next row is expected to fail as well.
        proven: Whether rows of this job were answered before, so the request is valid.
    """

    def __init__(self, *, rows: int = 64, proven: bool = False) -> None:
        self._rows = rows
        self._proven = proven
        self._sick = 0
        self._alike: tuple[object, ...] = ()
        self._count = 0

    def answered(self) -> None:
        """Record a row that was answered."""
        self._proven = True
        self._sick = 0

    def prove(self) -> None:
        """Record that another process has answered rows of the job: the request is valid."""
        self._proven = True

    def failed(self, failure: Failure) -> MayflyError | None:
        """Record a row that finally failed; return the error that ends the run, or None.

        Consecutive rows that were given up without an answer in between mean a broken endpoint, at
        any time. The same error (numbers aside) for every row from the first one on means an
        invalid request; after one answer this is never concluded.
        """
        if failure.kind in _SICK:
            self._sick += 1
            if self._sick >= self._rows:
                return EndpointLost(f"{self._sick} consecutive rows were given up, last: {failure}")
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
            f"each of the first {self._count} rows failed with the same error, {failure}; fix the "
            "request and use a new --output, or run again with --retry-failed if it is correct"
        )
