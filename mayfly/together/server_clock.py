"""The API's own clock, from the `Date` header of its responses.

The time in an endpoint's name is read on other machines, so it must not depend on this machine's
clock, which may be wrong or be changed during a run.
"""

import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime


class ServerClock:
    """Unix time by the API's clock; by this machine's until there was a response.

    Args:
        now: This machine's Unix time, in seconds.
        monotonic: A monotonic clock, in seconds.
    """

    def __init__(
        self,
        *,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._now, self._monotonic = now, monotonic
        # (the API's Unix time, the monotonic clock at that time)
        self._noted: tuple[float, float] | None = None

    def note(self, date: str) -> None:
        """Record a `Date` header; an invalid one is ignored."""
        try:
            at = parsedate_to_datetime(date).timestamp()
        except (ValueError, TypeError, OverflowError):
            return
        self._noted = at, self._monotonic()

    def now(self) -> float:
        """Return Unix time in seconds, accurate to about a second."""
        if self._noted is None:
            return self._now()
        at, noted = self._noted
        return at + self._monotonic() - noted
