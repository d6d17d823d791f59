"""How long one request may take: the user's number, or what is measured.

A request that was not answered in time is not sent again as it was: what took too long once takes
too long again, and bills meanwhile. Unless the user has set the time, it is sent once more with
twice the time; then its row has an error that says what to do.

Pure: times are seconds.
"""

from collections import deque

FIRST_S = 600.0
"""Before anything is measured, unless `max_tokens` at MIN_TOKENS_PER_S takes longer."""

MIN_S, MAX_S = 60.0, 3600.0
"""Bounds of what is measured. A request that takes an hour holds a slot of a billed endpoint."""

MIN_TOKENS_PER_S = 10.0
"""What one request gets at least of an endpoint that is of any use."""

MIN_SAMPLES = 20
WINDOW = 512
"""Answers measured before a time is derived from them, and answers remembered."""

TAIL, TAIL_FACTOR = 0.99, 4.0
"""The time is this quantile of latencies, so many times."""

SLOW, SLOW_FACTOR = 0.05, 2.0
"""A full-length answer takes `max_tokens` at this quantile of tokens per second, so many times."""

MIN_TOKENS = 16
"""Answers with fewer tokens say nothing of tokens per second."""


class RowTimeout:
    """Derives the longest wait for one answer.

    Attributes:
        given: Whether the user has set it.
        current_s: The longest wait now.
    """

    def __init__(self, given_s: float | None, *, max_tokens: int | None = None) -> None:
        self.given = given_s is not None
        self._max_tokens = max_tokens
        longest_s = (max_tokens or 0) / MIN_TOKENS_PER_S
        self._first_s = min(max(FIRST_S, longest_s), MAX_S)
        self.current_s = self._first_s if given_s is None else given_s
        self._recent: deque[tuple[float, float]] = deque(maxlen=WINDOW)
        self.answered = self._recent.append
        """Takes (latency in seconds, tokens of the answer); called once for each."""

    def update(self) -> None:
        """Derive the time anew; called about once a second."""
        if self.given or not self._recent:
            return
        latencies = sorted(latency for latency, _ in self._recent)
        tail_s = latencies[int(TAIL * (len(latencies) - 1))]
        longest_s = max(MIN_S, TAIL_FACTOR * tail_s, self._full_length_s())
        if len(latencies) < MIN_SAMPLES:
            longest_s = max(longest_s, self._first_s)
        self.current_s = min(longest_s, MAX_S)

    def _full_length_s(self) -> float:
        """Return what an answer of `max_tokens` takes at the pace of slow ones, doubled."""
        if self._max_tokens is None:
            return 0.0
        paces = sorted(
            tokens / latency
            for latency, tokens in self._recent
            if tokens >= MIN_TOKENS and latency > 0
        )
        if not paces:
            return 0.0
        return SLOW_FACTOR * self._max_tokens / paces[int(SLOW * (len(paces) - 1))]
