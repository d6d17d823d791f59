"""The API's own clock, from the `Date` header of its answers.

What an endpoint's name says about time is read on other machines, so it must not depend on this
machine's clock, which may be wrong or be set while a run is on.
"""

import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime


class ServerClock:
    """Unix time as the API has it; this machine's own until an answer has come.

    Args:
        now: This machine's Unix time, in seconds.
        monotonic: A clock that only goes forward, in seconds.
    """

    def __init__(
        self,
        *,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._now, self._monotonic = now, monotonic
        # (the API's Unix time, the monotonic clock then)
        self._noted: tuple[float, float] | None = None

    def note(self, date: str) -> None:
        """Take note of a `Date` header; one that cannot be read is ignored."""
        try:
            at = parsedate_to_datetime(date).timestamp()
        except (ValueError, TypeError, OverflowError):
            return
        self._noted = at, self._monotonic()

    def now(self) -> float:
        """Return Unix time in seconds, exact to about a second."""
        if self._noted is None:
            return self._now()
        at, noted = self._noted
        return at + self._monotonic() - noted
