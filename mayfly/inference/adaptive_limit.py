"""Adaptive concurrency: climb to the number in flight beyond which throughput no longer grows.

An endpoint that never says 429 only queues: too few in flight leave it idle, too many wait, or
thrash its memory. So throughput at one limit is compared with throughput at another. By Little's
law throughput is the number in flight over the mean latency; latencies weighted by the work that
came of them (tokens) lose most of the noise that long and short answers make.

Start at a quarter of a guess, in one more step at what the platform says, or just below what an
earlier run settled at. Double while throughput grows, then probe +25 % and -20 %, and hold. A step
up must gain a twentieth of what it would if the endpoint scaled (an elasticity of 0.05); a step
down may cost as much. While it holds it measures on: when throughput moves by itself (a replica
more or less, other prompts) it probes again at once.

Growth is optimistic and only turning back needs evidence: too many on a queue cost nothing, and the
next step measures better than a longer wait (as in slow start).

Source: J. Little, "A Proof for the Queuing Formula L = λW", 1961; the alternation of holding and
probing is BBR's, N. Cardwell et al., "BBR: Congestion-Based Congestion Control", 2016; leaving slow
start by evidence is RFC 9406's.
"""

import math
from dataclasses import dataclass, field

from mayfly.inference.concurrency import CEILING, FIRST_LIMIT, FLOOR, Source

ELASTICITY = 0.05
"""d ln(throughput) / d ln(limit) at which more is no longer worth it."""

START_DIVISOR = 4
"""The search starts at the guess divided by this: should the best number be far below, too many at
first would thrash the endpoint, and each measurement there takes as many answers as are out."""

HISTORY_SHARE = 0.9
"""Part of the limit of an earlier run at which the search starts. That limit is the knee or up to a
quarter more: on servers that thrash as much is lost above the knee as below it."""

MIN_START = 8
"""The search starts with no fewer than this, unless fewer are expected."""

COARSE, FINE = 2.0, 1.25
"""Factors of a step: while searching from afar, and near the knee."""

HOLD, MAX_HOLD = 4, 32
"""Windows measured between two probes; doubled while probes show nothing new."""

DRIFT = 0.15
"""A change of ln(throughput) at the same limit that starts a probe at once."""

NOISE_REFUSALS, NOISE_SHARE = 2, 0.05
"""Refusals in a round trip that are noise and not overload: so many, and this share."""

BELOW_WALL, WALL_FADES = 0.98, 1.05
"""The limit stays at this part of the number in flight that was refused, which is raised by this
factor after each window of holding without a refusal."""


@dataclass(slots=True)
class _Window:
    """Sums over answers at one limit, once those sent under the limit before have come back."""

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
    """ln of work a second, and the standard error of that."""

    ln: float
    error: float

    def gain_over(self, other: "_Throughput") -> tuple[float, float]:
        return self.ln - other.ln, math.hypot(self.error, other.error)


@dataclass(slots=True)
class AdaptiveLimiter:
    """Finds the limit by comparing throughputs; see the module.

    Attributes:
        first: The number that is expected; it begins at a quarter of it.
        ceiling: The most it goes to.
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
        """The limit that was measured to be best so far; 0 before the first step."""
        searched = self._known is not None and (self._moved or self._turned)
        return self._base if searched else 0

    def begin_at(self, limit: int, source: Source = "guess", *, ceiling: int = CEILING) -> None:
        """Begin at a number, if nothing has been learnt yet.

        Args:
            limit: The number that is expected.
            source: Where it comes from: it is begun far below a guess, and the first step from
                there goes straight to what the platform says; just below what was measured.
            ceiling: The most that is ever tried.
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
        # The quick ones come back first: a window of them alone would promise too much.
        self._window = _Window(settle=self.limit // 2)

    def answered(
        self, now_s: float, *, latency_s: float, in_flight: int, work: float = 1.0
    ) -> None:
        """Measure, and take the next step when enough has been seen."""
        del now_s
        self._count_round()
        if in_flight < 0.9 * self.limit:
            # Not full: what comes back says nothing about more in flight.
            if self._window.count or not self._window.settle:
                self._window = _Window(settle=in_flight)
            return
        self._window.add(max(work, 1e-9), latency_s, in_flight)
        # On the way up every gain is large, and every moment below the knee is lost.
        few, part = (32, 2) if self._turned else (16, 4)
        if self._window.count >= max(few, self.limit // part):
            self._consider()

    def overloaded(self, now_s: float, *, in_flight: int) -> None:
        """Go back to what the endpoint has taken, at most by half in a round trip."""
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
            # It is known where the wall is: no search from afar.
            self._settle_at(max(within, self._base) if self._probing else within)
            self._factor, self._direction = FINE, -1
            self._rest()

    def lifted(self) -> None:
        """Forget a wall that was none, and go on with the search at once."""
        self._wall, self._refusals, self._cut = math.inf, 0, False
        self._hold, self._hold_next = 0, HOLD
        self._direction, self._factor, self._turned = 1, COARSE, False

    def scaled(self, factor: float) -> None:
        """Move in proportion, and search from there."""
        if factor > 0 and factor != 1:
            self._wall *= factor
            if self._useful < self.ceiling:
                self._useful = min(max(round(self._useful * factor), FLOOR), self.ceiling)
            self._settle_at(round(self._base * factor))
            self._direction, self._factor = (1 if factor > 1 else -1), FINE
            self._hold, self._hold_next = 0, HOLD

    def _settle_at(self, limit: int) -> None:
        """Take another base, of which nothing is known yet."""
        self._move(limit)
        self._base, self._known, self._probing, self._rejected = self.limit, None, False, 0

    def _count_round(self) -> None:
        """Forget refusals after a round trip: as many answers as may be in flight."""
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
        """Keep what a probe has reached, or go back, as soon as it is clear which."""
        assert self._known is not None  # noqa: S101
        gain, error = found.gain_over(self._known)
        step = math.log(self.limit / self._base)
        over = gain - ELASTICITY * step
        # A round trip's answers hang together, so the error is larger than it looks.
        clear = abs(over) > 3 * error
        # On the way up growth is optimistic, and only turning back needs evidence: too many on a
        # queue cost nothing, and the next step measures better.
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
        """Go back, and turn to the other direction, to smaller steps, or to holding."""
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
        """Hold, the longer the less the probes before it have shown."""
        self._hold, self._hold_next = self._hold_next, min(2 * self._hold_next, MAX_HOLD)

    def _held(self, found: _Throughput) -> None:
        """Note the throughput at the base, and probe when it is time or something has moved."""
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
        """Try another limit in the present direction; at an end of the range, turn round."""
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
            # What was sent among more took longer, the last of it until after the drain.
            settle = was + self.limit // 2
        elif self._turned:
            settle = self.limit
        else:
            # On the way up the next step measures as well, and sooner.
            settle = (was + self.limit) // 2
        self._window = _Window(settle=settle)
