"""Adaptive concurrency: find the number in flight beyond which throughput no longer grows.

An endpoint without rate limits only queues: too few requests in flight leave it idle, too many
wait, or thrash its memory. So throughput at one limit is compared with throughput at another.

The search starts at a quarter of a guess (the next step then uses the platform's number, if there
is one), or just below the limit that an earlier run settled at. It doubles while throughput grows,
then probes +25 % and -20 %, and holds. A step up must gain a twentieth of what it would with linear
scaling (an elasticity of 0.05); a step down may cost as much. While holding it keeps measuring:
when throughput changes by itself (replicas added or removed, other prompts) it probes again.

Growth is optimistic, and only reversing needs evidence: queued requests cost nothing, and the next
step measures better than a longer wait (as in slow start). While latency stays flat nothing queues:
half of a step's requests are then enough for the next step, which takes less than a round trip.

Source: the alternation of holding and probing is BBR's, N. Cardwell et al., "BBR: Congestion-Based
Congestion Control", 2016; leaving slow start by evidence, of which a rise of latency is one, is RFC
9406's (HyStart++).
"""

import math
from dataclasses import dataclass, field

from mayfly.inference.concurrency import CEILING, FIRST_LIMIT, FLOOR, Source
from mayfly.inference.throughput_window import Burst, Throughput, Window

ELASTICITY, CLIMB_ELASTICITY = 0.05, 0.10
"""d ln(throughput) / d ln(limit) below which a higher limit is not worth it; and while doubling,
where a look is taken while the queue still grows, and is a few percent too good."""

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

FLAT, LOST = 1.25, 2.5
"""Median latency of the requests that a doubling sends, relative to the doubling before. Up to the
first factor they did not queue. Without any gain it is 1.5 to 2. Beyond the second factor
throughput was lost."""

FEWEST = 8
"""Answers that such a median takes at least."""

CLEAR, DOUBTFUL = 3.0, 1.5
"""Standard errors at which a difference decides at once. The answers of one round trip are
correlated, so the true error is larger. A step down is given up in doubt: while it is measured it
may cost a fifth of the throughput, and staying costs nothing."""

REGROWTH = 0.25
"""Part of linear scaling that a fine step must gain for the next one to be larger."""

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
    _known: Throughput | None = field(default=None, init=False)
    _window: Window = field(init=False)
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
    _now_s: float = field(default=0.0, init=False)
    _burst: Burst | None = field(default=None, init=False)
    _before: Burst | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.begin_at(self.first)

    @property
    def settled(self) -> int:
        """The best limit measured so far; 0 before the first step."""
        searched = self._known is not None and (self._moved or self._turned)
        return self._base if searched else 0

    @property
    def _climbing(self) -> bool:
        """Whether the search is on its way up from afar."""
        return not self._turned and self._direction > 0 and self._factor == COARSE

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
        if source == "history":
            self.limit = max(int(HISTORY_SHARE * within), FLOOR)
        else:
            self.limit = max(within // START_DIVISOR, min(within, MIN_START))
        self._base = self.limit
        self._next = within if source == "platform" else 0
        expected = source == "history" or self.limit == self._next
        self._factor = FINE if expected else COARSE
        self._burst, self._before = Burst(self.limit, self._half(self.limit)), None
        # Short answers return first: a window of only those would overestimate throughput.
        self._window = Window(settle=self.limit if expected else self.limit // 2)

    def answered(
        self, now_s: float, *, latency_s: float, in_flight: int, work: float = 1.0
    ) -> None:
        """Add a measurement, and take the next step when there are enough."""
        self._now_s = now_s
        self._count_round()
        if in_flight < 0.9 * self.limit:
            # Not at the limit: the answer says nothing about a higher one.
            if self._window.count or not self._window.settle:
                self._window = Window(settle=in_flight)
            return
        work = max(work, 1e-9)
        if self._burst is not None and self._decided_early(self._burst, latency_s, work):
            return
        self._window.add(work, latency_s, in_flight)
        # While growing every gain is large, and all time below the knee is lost.
        few, part = (16, 4) if self._climbing else (32, 2)
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
            # The wall is known now, so use fine steps. A refused step counts as a rejected one.
            refused = self._probing or self._rejected > 0
            self._settle_at(max(within, self._base) if self._probing else within)
            self._rejected = int(refused)
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
        self._burst = self._before = None

    def _count_round(self) -> None:
        """Reset refusals after a round trip: as many answers as the limit."""
        self._answers += 1
        if self._answers >= self.limit:
            self._answers = self._refusals = 0
            self._cut = False

    def _decided_early(self, burst: Burst, latency_s: float, work: float) -> bool:
        """Step on, or back, when the latency of the last step's requests says enough."""
        before = self._before
        if not burst.includes(self._now_s, latency_s):
            if before is not None and before.early and before.includes(self._now_s, latency_s):
                before.add(self._now_s, latency_s, work)
                self._known = before.window.measured()
            return False
        decided = burst.median_s is not None
        burst.add(self._now_s, latency_s, work)
        usual_s = self._usual_s()
        if decided or usual_s is None:
            return False
        if burst.median_s is None and latency_s > LOST * usual_s:
            self._reject(lost=True)
            return True
        if burst.median_s is not None and burst.median_s <= FLAT * usual_s:
            burst.early = True
            self._accept(burst.window.measured())
            return True
        return False

    def _usual_s(self) -> float | None:
        """Return the median latency to compare with; infinity for the first step of all."""
        if not self._probing:
            return math.inf
        return self._before.median_s if self._climbing and self._before is not None else None

    def _consider(self) -> None:
        found = self._window.measured()
        if self._probing:
            self._judge(found)
        elif self._window.count >= max(64, self.limit) or self._known is None:
            self._held(found)

    def _judge(self, found: Throughput) -> None:
        """Accept or reject a probe, as soon as the difference is significant."""
        assert self._known is not None  # noqa: S101
        gain, error = found.gain_over(self._known)
        step = math.log(self.limit / self._base)
        over = gain - (CLIMB_ELASTICITY if self._climbing else ELASTICITY) * step
        clear = over > CLEAR * error or over < -(DOUBTFUL if self._direction < 0 else CLEAR) * error
        # Growth is optimistic, and only reversing needs evidence: queued requests cost nothing,
        # and the next step measures better.
        growing = not self._turned and self._direction > 0
        enough = max(32, self.limit) if growing else max(400, 3 * self.limit)
        if not clear and self._window.count < enough:
            return
        if over > 0:
            if self._factor < COARSE and gain > REGROWTH * abs(step):
                self._factor = min(self._factor * FINE, COARSE)
            if abs(step) > 0.1:
                self._hold_next = HOLD
            self._accept(found)
        else:
            self._reject(lost=gain < -CLEAR * error)

    def _accept(self, found: Throughput) -> None:
        """Make this limit the base, and take the next step."""
        self._moved = self._moved or self._probing
        self._base, self._known, self._rejected = self.limit, found, 0
        if self._burst is not None:
            self._burst.end(self._now_s)
        self._before = self._burst
        self._probe()

    def _reject(self, *, lost: bool) -> None:
        """Go back to the base; try the other direction, smaller steps, or hold.

        Args:
            lost: Whether throughput fell clearly. If it only did not grow, requests queue, which
                costs nothing: a smaller number is tried after the next hold.
        """
        up, climbing = self._direction > 0, self._climbing
        self._probing, self._turned = False, True
        self._rejected += 1
        flat = self._before is not None and self._before.early
        # If latency was flat at the base, or the step gained too little, the best is between.
        if not (climbing and self._moved and (flat or not lost)):
            self._direction = -self._direction
        if self._factor > FINE and (self._moved or self._rejected > 1):
            self._factor, self._rejected = FINE, 0
        elif self._rejected > 1 or (up and not lost and not climbing):
            self._rejected = 0
            self._rest()
        if climbing:
            # The base was measured just before.
            self._probe()
        else:
            self._move(self._base)

    def _rest(self) -> None:
        """Hold, twice as long each time that probes bring nothing."""
        self._hold, self._hold_next = self._hold_next, min(2 * self._hold_next, MAX_HOLD)

    def _held(self, found: Throughput) -> None:
        """Record the throughput at the base, and probe when it is time or throughput changed."""
        if self._known is None:
            self._known = found
        else:
            change, error = found.gain_over(self._known)
            if abs(change) > max(DRIFT, 4 * error):
                self._direction, self._hold, self._hold_next = (1 if change > 0 else -1), 0, HOLD
                self._known = found
            else:
                self._known = Throughput(
                    (self._known.ln + found.ln) / 2, max(self._known.error, found.error) * 0.75
                )
        self._hold -= 1
        if not self._refusals:
            self._wall *= WALL_FADES
        if self._hold <= 0:
            self._probe()
        else:
            self._window = Window(settle=0)

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
            self._direction, self._factor = -self._direction, FINE
        self._probing = False

    def _move(self, limit: int) -> None:
        was, self.limit = self.limit, min(max(limit, FLOOR), self._useful)
        if was > self.limit:
            # Requests sent at the higher limit took longer, until the queue has drained.
            settle = was + self.limit // 2
        elif self._climbing:
            # While growing, the next step measures as well, and sooner.
            settle = (was + self.limit) // 2
        else:
            settle = self.limit
        grows = self.limit > was and not self._turned
        size = self.limit - was
        self._burst = Burst(self.limit, self._half(size), self._now_s) if grows else None
        if not grows:
            self._before = None
        self._window = Window(settle=settle)

    @staticmethod
    def _half(size: int) -> int:
        return max(size // 2, FEWEST)
