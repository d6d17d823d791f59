"""Learn which share of requests is refused whatever the rate is.

Not every refusal is due to load: a broken replica behind a load balancer refuses its share of any.
Sending at the rate that succeeded then fails for the same share of fewer requests, again and again,
down to nothing. So when what is sent at a lower rate is refused alike twice in a row, that share is
the background, and only what exceeds it counts as refused load. The share falls with what is
refused at any rate, and is forgotten when nothing succeeds at all.

Where a rate limit is taken for background nevertheless (it fell twice within seconds), more is
refused than necessary, which costs nothing, until the next lower rate shows it.

Pure.
"""

import math

MAX_SHARE = 0.75
"""Largest share that can be background; more is an overload."""

SPARE_REFUSALS, SPARE_SHARE = 1, 0.05
"""Refusals that count as noise: a number, plus a share of the requests sent."""

ALIKE = 0.7
"""Share of refusals at a lower rate, relative to the one before, from which the rate is not the
cause. A rate limit refuses next to nothing at the rate that succeeded."""

TRIAL, LONG_TRIAL = 10, 40
"""Minimum requests at a lower rate from which their share of refusals is taken, and from which
there are too few refusals to be background."""

SIGMAS = 2.0
"""Standard errors of the expected refusals that are noise too."""

UNLIKELY = 1e-3
"""Probability below which refusals without any success are not background."""

MAX_EXPLAINED = 16
"""Maximum refusals in a row that are explained by the background."""


class BackgroundRefusals:
    """Tells refusals that do not depend on the rate from those that do.

    Attributes:
        share: Share of requests that is refused at any rate; 0 if there is none.
    """

    def __init__(self) -> None:
        self.share = 0.0
        self._explained = 0.0
        self._in_a_row = 0
        # Requests and refusals at a lower rate, and the same of the trials before that were alike.
        self._sent = self._refused = 0
        self._before: tuple[int, int] | None = None

    def sent(self, count: int) -> None:
        """Count requests that were sent."""
        if self.share:
            self._explained = min(self._explained + self.share * count, MAX_EXPLAINED)

    def explains(self) -> bool:
        """Whether a refusal may be background, as so many of the requests sent are."""
        explained = self._explained >= 1
        self._explained -= explained
        return explained

    def usual(self, sent: int) -> float:
        """Return how many of so many requests may be refused without being too many."""
        expected = self.share * sent
        return SPARE_SHARE * sent + expected + SIGMAS * math.sqrt(expected * (1 - self.share))

    def excludes(self, refusals: int) -> bool:
        """Whether so many refusals without a success are more than background."""
        return self.share**refusals < UNLIKELY

    def window(self, sent: int, refused: int) -> None:
        """Lower the share to what a window allows, at whatever rate."""
        if not self.share or not sent:
            return
        self._in_a_row = self._in_a_row + refused if refused >= sent else 0
        if self.excludes(self._in_a_row):
            self.share = 0.0
            return
        # Requests of the window before may have been refused in this one.
        share = min(refused / sent, 1.0)
        self.share = min(
            self.share, share + SIGMAS * math.sqrt(share * (1 - share) / sent) + 3 / sent
        )

    def begin(self) -> None:
        """Forget trials: a rate is lowered for the first time."""
        self._before = None
        self._sent = self._refused = 0

    def tried(self, sent: int, refused: int) -> bool:
        """Add a window at a lower rate; return whether the rate is shown not to be the cause."""
        self._sent += sent
        self._refused += refused
        sent, refused = self._sent, self._refused
        few = refused <= SPARE_REFUSALS + SPARE_SHARE * sent
        if sent < (LONG_TRIAL if few else TRIAL):
            return False
        self._sent = self._refused = 0
        before, self._before = self._before, None
        if few or refused > MAX_SHARE * sent:
            return False
        self._before = sent, refused
        if before is None or refused * before[0] < ALIKE * before[1] * sent:
            return False
        self._before = sent + before[0], refused + before[1]
        self.share = self._before[1] / self._before[0]
        return True
