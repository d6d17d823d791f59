"""Messages for people from places where the same thing happens a thousand times."""

from collections.abc import Callable

EVERY_S = 5.0
"""How often a message of one kind is repeated at most."""


class ThrottledLog:
    """Passes messages on, those of one kind not more often than every few seconds."""

    def __init__(self, log: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._log, self._clock = log, clock
        self._said_at: dict[str, float] = {}

    def log(self, kind: str, message: str) -> None:
        """Pass a message on unless one of its kind was a moment ago."""
        now = self._clock()
        if now - self._said_at.get(kind, -EVERY_S) >= EVERY_S:
            self._said_at[kind] = now
            self._log(message)

    def once(self, kind: str, message: str) -> None:
        """Pass a message on, the first of its kind only."""
        if kind not in self._said_at:
            self._said_at[kind] = self._clock()
            self._log(message)
