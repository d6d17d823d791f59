"""Rate-limited log messages, for events that may occur thousands of times."""

from collections.abc import Callable

EVERY_S = 5.0
"""Minimum interval between messages of one kind."""


class ThrottledLog:
    """Logs messages, those of one kind at most once in `EVERY_S`."""

    def __init__(self, log: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._log, self._clock = log, clock
        self._said_at: dict[str, float] = {}

    def log(self, kind: str, message: str) -> None:
        """Log a message unless one of its kind was logged recently."""
        now = self._clock()
        if now - self._said_at.get(kind, -EVERY_S) >= EVERY_S:
            self._said_at[kind] = now
            self._log(message)

    def once(self, kind: str, message: str) -> None:
        """Log a message, the first of its kind only."""
        if kind not in self._said_at:
            self._said_at[kind] = self._clock()
            self._log(message)
