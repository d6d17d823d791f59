"""Measure throughput at one concurrency limit, and the latency of the requests of a step up.

By Little's law throughput is the number in flight over the mean latency; weighting latencies by the
work done (tokens) removes most of the noise of long and short answers.

Source: J. Little, "A Proof for the Queuing Formula L = λW", 1961.
"""

import math
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Throughput:
    """ln of the work per second, and its standard error."""

    ln: float
    error: float

    def gain_over(self, other: "Throughput") -> tuple[float, float]:
        """Return the difference of the logarithms, and its standard error."""
        return self.ln - other.ln, math.hypot(self.error, other.error)


@dataclass(slots=True)
class Window:
    """Sums over answers at one limit, after those sent under the previous limit have returned.

    Attributes:
        settle: Answers still to be skipped.
        count: Answers added.
    """

    settle: int
    count: int = 0
    in_flight: float = 0.0
    w: float = 0.0
    t: float = 0.0
    ww: float = 0.0
    tt: float = 0.0
    wt: float = 0.0

    def add(self, work: float, latency_s: float, in_flight: int) -> None:
        """Add an answer."""
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

    def measured(self) -> Throughput:
        """Return the throughput of the answers added so far."""
        rate = self.w / max(self.t, 1e-9)
        spread = max(self.ww - 2 * rate * self.wt + rate * rate * self.tt, 0.0)
        return Throughput(
            math.log(max(self.in_flight / self.count * rate, 1e-12)),
            math.sqrt(spread) / max(self.w, 1e-9),
        )


@dataclass(slots=True)
class Burst:
    """The requests that a step up sends at once, and those that follow before the next step.

    Attributes:
        limit: Of the step.
        half: Answers with which the median latency of the step is known.
        since_s: When they were sent; None until the first answer of a run tells.
        median_s: Time until half of the step was answered, once it was.
        early: Whether the next step was taken then.
        window: All of them. After an early step those that return later are added, so that it is
            not of quick answers only.
    """

    limit: int
    half: int
    since_s: float | None = None
    median_s: float | None = None
    early: bool = False
    window: Window = field(default_factory=lambda: Window(settle=0))

    def includes(self, now_s: float, latency_s: float) -> bool:
        """Whether a request was sent since the step."""
        if self.since_s is None:
            self.since_s = now_s - latency_s
        return latency_s <= (now_s - self.since_s) * (1 + 1e-9)

    def add(self, now_s: float, latency_s: float, work: float) -> None:
        """Add an answer to one of them."""
        assert self.since_s is not None  # noqa: S101
        self.window.add(work, latency_s, self.limit)
        if self.median_s is None and self.window.count >= self.half:
            self.median_s = now_s - self.since_s

    def end(self, now_s: float) -> None:
        """Take the next step; without a median the time so far is its lower bound."""
        if self.median_s is None and self.since_s is not None:
            self.median_s = now_s - self.since_s
