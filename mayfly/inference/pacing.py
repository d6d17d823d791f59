"""Pace requests while load is refused, and stop pacing once it is no longer.

A limit on requests per second is not a limit on requests in flight: with short answers even one in
flight may be too many per second. So while more than noise is refused, requests are sent at the
rate that succeeded in the last window. After each window without refusals the rate grows, by a
twentieth at first and then faster (like CUBIC), so that the end of a rate limit is found within
seconds; after an overload in which everything was refused it doubles. Pacing ends when no request
has to wait for the rate. Refusals that do not depend on the rate are told apart: see
`background_refusals`.

Pure: times are seconds on any monotonic clock.

Source: S. Ha, I. Rhee, L. Xu, "CUBIC: A New TCP-Friendly High-Speed TCP Variant", 2008.
"""

import math

from mayfly.inference.background_refusals import SPARE_REFUSALS, BackgroundRefusals

MIN_WINDOW_S, MAX_WINDOW_S = 1.0, 10.0
"""Length of a window: four times the latency of a refusal, within these bounds."""

MIN_RATE = 1.0
"""Requests per second for probing an endpoint that refuses everything."""

FIRST_GROWTH, MAX_GROWTH = 1.05, 2.0
"""Growth after the first window without refusals, and its maximum; squared each time."""

ALL_REFUSED = 3
"""Minimum refusals in a window without any success after which Retry-After stops all sending."""

IDLE_WINDOWS = 3
"""Consecutive windows without waiting after which pacing ends."""

HELD = 1.1
"""Growth since the last lower rate up to which a window shows what is refused at that rate."""

UNLIMITED = 1 << 30


class Pacer:
    """Decides how many requests may be sent now.

    Attributes:
        rate: Requests per second; None while nothing is paced.
        background: The refusals that do not depend on the rate.
    """

    def __init__(self) -> None:
        self.rate: float | None = None
        self.background = BackgroundRefusals()
        self._lowest = math.inf
        self._tokens = 0.0
        self._filled_at = 0.0
        self._window_s = MIN_WINDOW_S
        self._began = self._paced_since = -math.inf
        self._sent = self._refused = 0
        # Of the previous window, which the first estimate of a rate needs as well.
        self._sent_before, self._before_s = 0, 0.0
        self._refused_before = 0
        self._through_s = MIN_WINDOW_S
        self._growth = FIRST_GROWTH
        self._waited = False
        self._idle_windows = 0
        self._hold_until = -math.inf

    def room(self, now_s: float) -> int:
        """Return how many requests may be sent now."""
        if self.rate is None:
            return UNLIMITED
        self.roll(now_s)
        if self.rate is None:
            return UNLIMITED
        if now_s < self._hold_until:
            return 0
        self._tokens += max(now_s - self._filled_at, 0.0) * self.rate
        # A burst of a tenth of a second is allowed: timers are not exact.
        self._tokens = min(self._tokens, max(1.0, self.rate / 10))
        self._filled_at = now_s
        return int(self._tokens)

    def wait_s(self, now_s: float) -> float:
        """Return the seconds until another request may be sent, and record that one waits."""
        self._waited = True
        if self.rate is None:
            return 0.0
        if now_s < self._hold_until:
            return self._hold_until - now_s
        return max((1.0 - self._tokens) / self.rate, 0.001)

    def sent(self, count: int) -> None:
        """Count requests that were sent."""
        self._sent += count
        self.background.sent(count)
        if self.rate is not None:
            self._tokens -= count

    def refused(
        self, now_s: float, *, sent_at_s: float, retry_after_s: float | None = None
    ) -> None:
        """Count a refusal, and start pacing when there are too many.

        Args:
            sent_at_s: When the refused request was sent.
            retry_after_s: The server's Retry-After; if everything is refused, nothing is sent
                until then.
        """
        latency_s = now_s - sent_at_s
        self._window_s = min(max(4 * latency_s, self._window_s * 0.9, MIN_WINDOW_S), MAX_WINDOW_S)
        if self.rate is None:
            self._refused += 1
            sent = self._sent + self._sent_before
            usual = SPARE_REFUSALS + self.background.usual(sent)
            if self._refused + self._refused_before > usual:
                self._begin(now_s)
        elif sent_at_s < self._paced_since:
            # Sent before pacing began: it was counted as successful.
            self.rate = max(self.rate - 1 / self._through_s, MIN_RATE)
        else:
            self._refused += 1
        if (
            self.rate is not None
            and retry_after_s
            and self._refused >= max(self._sent, ALL_REFUSED)
            and self.background.excludes(self._refused)
        ):
            self._hold_until = max(self._hold_until, now_s + retry_after_s)

    def roll(self, now_s: float) -> None:
        """End the window if its time is over, and adjust the rate."""
        elapsed_s = now_s - self._began
        if elapsed_s < self._window_s:
            return
        sent, refused, waited = self._sent, self._refused, self._waited
        self._began, self._sent, self._refused, self._waited = now_s, 0, 0, False
        fresh = elapsed_s < 2 * self._window_s
        self._sent_before, self._refused_before = (sent, refused) if fresh else (0, 0)
        self._before_s = elapsed_s if fresh else 0.0
        self.background.window(sent, refused)
        if self.rate is None or now_s < self._hold_until:
            return
        if self.rate <= HELD * self._lowest and self.background.tried(sent, refused):
            self._growth = MAX_GROWTH
        if refused > SPARE_REFUSALS * (sent > 1) + self.background.usual(sent):
            through = (sent - refused) / elapsed_s
            self.rate, self._idle_windows = max(through, MIN_RATE), 0
            self._lowest = self.rate
            # Near a limit growth is slow; from zero the rate doubles once anything succeeds.
            self._growth = FIRST_GROWTH if through > MIN_RATE else MAX_GROWTH
        elif 0 < sent <= refused:
            self._idle_windows = 0
        elif waited:
            self.rate *= self._growth
            self._growth = min(self._growth**2, MAX_GROWTH)
            self._idle_windows = 0
        else:
            self._idle_windows += 1
            if self._idle_windows >= IDLE_WINDOWS:
                self.rate = None

    def _begin(self, now_s: float) -> None:
        """Start pacing at the rate that succeeded in this window and the previous one."""
        through = self._sent + self._sent_before - self._refused - self._refused_before
        elapsed_s = min(now_s - self._began, self._window_s) + self._before_s
        self._through_s = max(elapsed_s, MIN_WINDOW_S)
        self.rate = max(through / self._through_s, MIN_RATE)
        self._tokens, self._filled_at = 0.0, now_s
        self._began = self._paced_since = now_s
        self._sent = self._refused = self._sent_before = self._refused_before = 0
        self._growth, self._idle_windows = FIRST_GROWTH, 0
        self._lowest = self.rate
        self.background.begin()
