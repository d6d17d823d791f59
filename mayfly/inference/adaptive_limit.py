"""Adaptive concurrency: find the number in flight beyond which throughput no longer grows.

An endpoint without rate limits only queues: too few requests in flight leave it idle, too many
wait, or thrash its memory. So throughput at one limit is compared with throughput at another. By
Little's law throughput is the number in flight over the mean latency; weighting latencies by the
work done (tokens) removes most of the noise of long and short answers.

The search starts at a quarter of a guess (the next step then uses the platform's number, if there
is one), or just below the limit that an earlier run settled at. It doubles while throughput grows,
then probes +25 % and -20 %, and holds. A step up must gain a twentieth of what it would with linear
scaling (an elasticity of 0.05); a step down may cost as much. While holding it keeps measuring:
when throughput changes by itself (replicas added or removed, other prompts) it probes again.

Growth is optimistic, and only reversing needs evidence: queued requests cost nothing, and the next
step measures better than a longer wait (as in slow start).

Source: J. Little, "A Proof for the Queuing Formula L = λW", 1961; the alternation of holding and
probing is BBR's, N. Cardwell et al., "BBR: Congestion-Based Congestion Control", 2016; leaving slow
start by evidence is RFC 9406's.
"""

import math
from dataclasses import dataclass, field

from mayfly.inference.concurrency import CEILING, FIRST_LIMIT, FLOOR, Source

ELASTICITY = 0.05
"""d ln(throughput) / d ln(limit) below which a higher limit is not worth it."""

START_DIVISOR = 4
"""The search starts at the guess divided by this. If the best number is far below the guess, too
many requests would thrash the endpoint, and each measurement takes as many answers as are in
flight."""

HISTORY_SHARE = 0.9
"""Part of the limit of an earlier run at which the search starts. That limit is the knee or up to a
quarter more: on servers that thrash as much is lost above the knee as below it."""

MIN_START = 8
"""Minimum start of the search, unless a smaller number is expected."""

COARSE, FINE = 2.0, 1.25
"""Factors of a step: while searching from afar, and near the knee."""

HOLD, MAX_HOLD = 4, 32
"""Windows measured between two probes; doubled while probes show nothing new."""

DRIFT = 0.15
"""A change of ln(throughput) at the same limit that starts a probe at once."""

NOISE_REFUSALS, NOISE_SHARE = 2, 0.05
"""Refusals in a round trip that count as noise: a number, plus a share of the limit."""

BELOW_WALL, WALL_FADES = 0.98, 1.05
"""The limit stays at this share of the number in flight that was refused. That number is raised by
this factor after each window of holding without a refusal."""


@dataclass(slots=True)
class _Window:
    """Sums over answers at one limit, after those sent under the previous limit have returned."""

    settle: int
    count: int = 0
    in_flight: float = 0.0
    w: float = 0.0
    t: float = 0.0
    ww: float = 0.0
    tt: float = 0.0
    wt: float = 0.0

    def add(self, work: float, latency_s: float, in_flight: int) -> None:
        if self.settle > 0:
            self.settle -= 1
            return
        self.count += 1
        self.in_flight += in_flight
        self.w += work
        self.t += latency_s
        self.ww += work * work
        self.tt += latency_s * latency_s
        self.wt += work * latency_s

    def measured(self) -> "_Throughput":
        rate = self.w / max(self.t, 1e-9)
        spread = max(self.ww - 2 * rate * self.wt + rate * rate * self.tt, 0.0)
        return _Throughput(
            math.log(max(self.in_flight / self.count * rate, 1e-12)),
            math.sqrt(spread) / max(self.w, 1e-9),
        )


@dataclass(frozen=True, slots=True)
class _Throughput:
    """ln of the work per second, and its standard error."""

    ln: float
    error: float

    def gain_over(self, other: "_Throughput") -> tuple[float, float]:
        return self.ln - other.ln, math.hypot(self.error, other.error)


@dataclass(slots=True)
class AdaptiveLimiter:
    """Finds the limit by comparing throughputs; see the module.

    Attributes:
        first: The expected number; the search starts at a quarter of it.
        ceiling: Upper bound of the limit.
    """

    first: int = FIRST_LIMIT
    ceiling: int = CEILING
    limit: int = field(init=False)
    _base: int = field(init=False)
    _known: _Throughput | None = field(default=None, init=False)
    _window: _Window = field(init=False)
    _probing: bool = field(default=False, init=False)
    _direction: int = field(default=1, init=False)
    _factor: float = field(default=COARSE, init=False)
    _rejected: int = field(default=0, init=False)
    _moved: bool = field(default=False, init=False)
    _turned: bool = field(default=False, init=False)
    _hold: int = field(default=0, init=False)
    _hold_next: int = field(default=HOLD, init=False)
    _answers: int = field(default=0, init=False)
    _refusals: int = field(default=0, init=False)
    _cut: bool = field(default=False, init=False)
    _least: int = field(default=FLOOR, init=False)
    _wall: float = field(default=math.inf, init=False)
    _next: int = field(default=0, init=False)
    _useful: int = field(default=CEILING, init=False)

    def __post_init__(self) -> None:
        self.begin_at(self.first)

    @property
    def settled(self) -> int:
        """The best limit measured so far; 0 before the first step."""
        searched = self._known is not None and (self._moved or self._turned)
        return self._base if searched else 0

    def begin_at(self, limit: int, source: Source = "guess", *, ceiling: int = CEILING) -> None:
        """Start the search at a number, if nothing was measured yet.

        Args:
            limit: The expected number.
            source: Where it comes from. The search starts far below a guess; the first step from
                there goes to the platform's number; it starts just below a measured limit.
            ceiling: Upper bound of the limit.
        """
        if self._known is not None or self._probing:
            return
        self._useful = min(max(ceiling, FLOOR), self.ceiling)
        within = min(max(limit, FLOOR), self._useful)
        self._next = within if source == "platform" else 0
        self._factor = COARSE
        if source == "history":
            self.limit, self._factor = max(int(HISTORY_SHARE * within), FLOOR), FINE
        else:
            self.limit = max(within // START_DIVISOR, min(within, MIN_START))
        self._base = self.limit
        # Short answers return first: a window of only those would overestimate throughput.
        self._window = _Window(settle=self.limit // 2)

    def answered(
        self, now_s: float, *, latency_s: float, in_flight: int, work: float = 1.0
    ) -> None:
        """Add a measurement, and take the next step when there are enough."""
        del now_s
        self._count_round()
        if in_flight < 0.9 * self.limit:
            # Not at the limit: the answer says nothing about a higher one.
            if self._window.count or not self._window.settle:
                self._window = _Window(settle=in_flight)
            return
        self._window.add(max(work, 1e-9), latency_s, in_flight)
        # While growing every gain is large, and all time below the knee is lost.
        few, part = (32, 2) if self._turned else (16, 4)
        if self._window.count >= max(few, self.limit // part):
            self._consider()

    def overloaded(self, now_s: float, *, in_flight: int) -> None:
        """Reduce the limit to what the endpoint accepted, at most by half per round trip."""
        del now_s
        self._refusals += 1
        if self._refusals <= NOISE_REFUSALS + NOISE_SHARE * self.limit:
            return
        if not self._cut:
            self._cut, self._wall = True, float(in_flight)
            self._least = max(self._base // 2, FLOOR)
        self._wall = max(min(self._wall, in_flight), self._least)
        within = max(int(self._wall * BELOW_WALL), FLOOR)
        if within < self.limit:
            # The wall is known now, so use fine steps.
            self._settle_at(max(within, self._base) if self._probing else within)
            self._factor, self._direction = FINE, -1
            self._rest()

    def lifted(self) -> None:
        """Forget the wall, which was a rate limit, and continue the search at once."""
        self._wall, self._refusals, self._cut = math.inf, 0, False
        self._hold, self._hold_next = 0, HOLD
        self._direction, self._factor, self._turned = 1, COARSE, False

    def scaled(self, factor: float) -> None:
        """Scale the limit in proportion, and search from there."""
        if factor > 0 and factor != 1:
            self._wall *= factor
            if self._useful < self.ceiling:
                self._useful = min(max(round(self._useful * factor), FLOOR), self.ceiling)
            self._settle_at(round(self._base * factor))
            self._direction, self._factor = (1 if factor > 1 else -1), FINE
            self._hold, self._hold_next = 0, HOLD

    def _settle_at(self, limit: int) -> None:
        """Set a new base, for which there is no measurement yet."""
        self._move(limit)
        self._base, self._known, self._probing, self._rejected = self.limit, None, False, 0

    def _count_round(self) -> None:
        """Reset refusals after a round trip: as many answers as the limit."""
        self._answers += 1
        if self._answers >= self.limit:
            self._answers = self._refusals = 0
            self._cut = False

    def _consider(self) -> None:
        found = self._window.measured()
        if self._probing:
            self._judge(found)
        elif self._window.count >= max(64, self.limit) or self._known is None:
            self._held(found)

    def _judge(self, found: _Throughput) -> None:
        """Accept or reject a probe, as soon as the difference is significant."""
        assert self._known is not None  # noqa: S101
        gain, error = found.gain_over(self._known)
        step = math.log(self.limit / self._base)
        over = gain - ELASTICITY * step
        # Answers of one round trip are correlated, so the true error is larger.
        clear = abs(over) > 3 * error
        # Growth is optimistic, and only reversing needs evidence: queued requests cost nothing,
        # and the next step measures better.
        climbing = not self._turned and self._direction > 0
        enough = max(32, self.limit) if climbing else max(400, 3 * self.limit)
        if not clear and self._window.count < enough:
            return
        if over > 0:
            self._moved = True
            self._base, self._known, self._rejected = self.limit, found, 0
            if abs(step) > 0.1:
                self._hold_next = HOLD
            if self._factor < COARSE:
                self._factor = min(self._factor * FINE, COARSE)
            self._probe()
        else:
            self._reject()

    def _reject(self) -> None:
        """Go back to the base, and try the other direction, smaller steps, or hold."""
        self._probing, self._turned = False, True
        self._move(self._base)
        self._rejected += 1
        self._direction = -self._direction
        if self._factor > FINE and (self._moved or self._rejected > 1):
            self._factor, self._rejected = FINE, 0
        elif self._rejected > 1:
            self._rejected = 0
            self._rest()

    def _rest(self) -> None:
        """Hold, twice as long each time that probes bring nothing."""
        self._hold, self._hold_next = self._hold_next, min(2 * self._hold_next, MAX_HOLD)

    def _held(self, found: _Throughput) -> None:
        """Record the throughput at the base, and probe when it is time or throughput changed."""
        if self._known is None:
            self._known = found
        else:
            change, error = found.gain_over(self._known)
            if abs(change) > max(DRIFT, 4 * error):
                self._direction, self._hold, self._hold_next = (1 if change > 0 else -1), 0, HOLD
                self._known = found
            else:
                self._known = _Throughput(
                    (self._known.ln + found.ln) / 2, max(self._known.error, found.error) * 0.75
                )
        self._hold -= 1
        if not self._refusals:
            self._wall *= WALL_FADES
        if self._hold <= 0:
            self._probe()
        else:
            self._window = _Window(settle=0)

    def _probe(self) -> None:
        """Try another limit in the current direction; reverse at an end of the range."""
        for _ in range(2):
            if self._direction > 0:
                tried = max(round(self._base * self._factor), self._base + 1, self._next)
                self._next = 0
                within = max(int(min(self._wall * BELOW_WALL, self._useful)), self._base)
                tried = min(tried, within)
            else:
                tried = max(min(round(self._base / self._factor), self._base - 1), FLOOR)
            if tried != self._base:
                self._probing = True
                self._move(tried)
                return
            self._direction = -self._direction
        self._probing = False

    def _move(self, limit: int) -> None:
        was, self.limit = self.limit, min(max(limit, FLOOR), self._useful)
        if was > self.limit:
            # Requests sent at the higher limit took longer, until the queue has drained.
            settle = was + self.limit // 2
        elif self._turned:
            settle = self.limit
        else:
            # While growing, the next step measures as well, and sooner.
            settle = (was + self.limit) // 2
        self._window = _Window(settle=settle)
