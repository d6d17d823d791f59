"""The timeout of one request: set by the user, or derived from measured latencies.

A request that timed out is not simply repeated: it would take too long again, while the endpoint is
billed. Unless the user has set the timeout, it is sent once more with twice the time; then its row
has an error that says what to do.

Pure: times are seconds.
"""

from collections import deque

FIRST_S = 600.0
"""Timeout before any measurement, unless `max_tokens` at MIN_TOKENS_PER_S takes longer."""

MIN_S, MAX_S = 60.0, 3600.0
"""Bounds of the derived timeout. A request that takes an hour holds a slot of a billed endpoint."""

MIN_TOKENS_PER_S = 10.0
"""Minimum token rate of one request on a usable endpoint."""

MIN_SAMPLES = 20
WINDOW = 512
"""Minimum answers before a timeout is derived, and number of latest answers kept."""

TAIL, TAIL_FACTOR = 0.99, 4.0
"""The timeout is this quantile of latencies times this factor."""

SLOW, SLOW_FACTOR = 0.05, 2.0
"""Time of a full-length answer: `max_tokens` at this quantile of token rates, times this factor."""

MIN_TOKENS = 16
"""Answers with fewer tokens are not used for token rates."""


class RowTimeout:
    """Derives the timeout of one request.

    Attributes:
        given: Whether the user has set it.
        current_s: The current timeout.
    """

    def __init__(self, given_s: float | None, *, max_tokens: int | None = None) -> None:
        self.given = given_s is not None
        self._max_tokens = max_tokens
        longest_s = (max_tokens or 0) / MIN_TOKENS_PER_S
        self._first_s = min(max(FIRST_S, longest_s), MAX_S)
        self.current_s = self._first_s if given_s is None else given_s
        self._recent: deque[tuple[float, float]] = deque(maxlen=WINDOW)
        self.answered = self._recent.append
        """Records an answer: (latency in seconds, tokens)."""

    def update(self) -> None:
        """Derive the timeout again; called about once per second."""
        if self.given or not self._recent:
            return
        latencies = sorted(latency for latency, _ in self._recent)
        tail_s = latencies[int(TAIL * (len(latencies) - 1))]
        longest_s = max(MIN_S, TAIL_FACTOR * tail_s, self._full_length_s())
        if len(latencies) < MIN_SAMPLES:
            longest_s = max(longest_s, self._first_s)
        self.current_s = min(longest_s, MAX_S)

    def _full_length_s(self) -> float:
        """Return twice the time of an answer of `max_tokens` at the token rate of slow ones."""
        if self._max_tokens is None:
            return 0.0
        rates = sorted(
            tokens / latency
            for latency, tokens in self._recent
            if tokens >= MIN_TOKENS and latency > 0
        )
        if not rates:
            return 0.0
        return SLOW_FACTOR * self._max_tokens / rates[int(SLOW * (len(rates) - 1))]
