"""A server and a client in simulated time, to measure a concurrency limiter."""

import heapq
import random
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count, pairwise

from mayfly.inference.concurrency import Limiter


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """How an endpoint takes load.

    Attributes:
        capacity: Requests that it works on at full speed each, over time: (from second, number).
        kind: `queue`: more wait for their turn. `batch`: all are worked on, each the slower the
            more there are, so that throughput approaches that of the capacity. `thrash`: as
            `queue`, but every request beyond the capacity costs throughput.
        service_s: Mean time of a request alone, in seconds.
        sigma: Of the log-normal share of a request's time that is not its length's.
        length_sigma: Of the log-normal length of answers, to which their time is in proportion.
        refuse_above: Requests held beyond which 429 is answered, or 0.
        fault_rate: Share of requests that are answered 503 for no reason.
    """

    capacity: Sequence[tuple[float, int]]
    kind: str = "queue"
    service_s: float = 1.0
    sigma: float = 0.2
    length_sigma: float = 0.5
    refuse_above: int = 0
    fault_rate: float = 0.0


@dataclass(slots=True)
class Outcome:
    """What a run came to.

    Attributes:
        ended: Times at which rows were answered, in order.
        limits: (time, limit) at every change.
    """

    ended: list[float] = field(default_factory=list)
    limits: list[tuple[float, int]] = field(default_factory=list)
    refused: int = 0
    most_in_flight: int = 0

    def rate(self, first_s: float, end_s: float) -> float:
        """Return rows a second between two times."""
        ended = self.ended
        return (bisect_right(ended, end_s) - bisect_right(ended, first_s)) / (end_s - first_s)

    def limit_at(self, now_s: float) -> int:
        """Return the limit at a time."""
        return self.limits[max(bisect_right(self.limits, (now_s, 10**9)) - 1, 0)][1]

    def mean_limit(self, first_s: float, end_s: float) -> float:
        """Return the mean limit between two times, weighed by time."""
        ends = [*self.limits, (end_s, 0)]
        return sum(
            limit * max(0.0, min(after, end_s) - max(at, first_s))
            for (at, limit), (after, _) in pairwise(ends)
        ) / (end_s - first_s)


Steps = Sequence[tuple[float, int]]
Event = tuple[float, int, str, float, float]


def value(steps: Steps, now_s: float) -> int:
    """Return what (from second, number) steps say at a time."""
    return [number for at, number in steps if at <= now_s][-1]


class Simulation:
    """A client that keeps a server as full as a limiter allows.

    Args:
        feed: (from second, number): as many requests the client can have in flight at most.
        scaled: (second, factor): when the limiter learns of more or fewer replicas.
    """

    def __init__(
        self,
        server: Server,
        limiter: Limiter,
        *,
        seed: int = 7,
        feed: Steps = ((0.0, 10**9),),
        scaled: Sequence[tuple[float, float]] = (),
    ) -> None:
        self.outcome = Outcome(limits=[(0.0, limiter.limit)])
        self._server, self._limiter, self._feed = server, limiter, feed
        self._news = deque(scaled)
        self._dice = random.Random(seed)
        self._now, self._in_flight, self._busy, self._numbers = 0.0, 0, 0, count()
        self._events: list[Event] = []
        # For `batch`: how far a request alone would have come, and where each one ends.
        self._progress, self._ends = 0.0, list[tuple[float, int, float, float]]()
        self._queue: deque[tuple[float, float]] = deque()
        for at, _ in [*server.capacity, *feed]:
            self._at(at, "wake")

    def run(self, seconds: float) -> Outcome:
        """Let so many simulated seconds pass."""
        self._fill()
        while self._now < seconds and (self._events or self._ends):
            kind, sent, length = self._next()
            while self._news and self._news[0][0] <= self._now:
                self._limiter.scaled(self._news.popleft()[1])
            if kind == "done":
                self._done(sent, length)
            elif kind == "refused":
                self._in_flight -= 1
                self.outcome.refused += 1
                self._limiter.overloaded(self._now, in_flight=self._in_flight)
            while self._queue and self._busy < value(self._server.capacity, self._now):
                self._begin(*self._queue.popleft())
            if self._limiter.limit != self.outcome.limits[-1][1]:
                self.outcome.limits.append((self._now, self._limiter.limit))
            self._fill()
        return self.outcome

    def _next(self) -> tuple[str, float, float]:
        """Let time pass until something happens; return what."""
        slower = 1 + max(self._busy - 1, 0) / value(self._server.capacity, self._now)
        if self._ends:
            ends_at = self._now + (self._ends[0][0] - self._progress) * slower
            if not self._events or ends_at <= self._events[0][0]:
                self._now = ends_at
                self._progress, _, sent, length = heapq.heappop(self._ends)
                return "done", sent, length
        was = self._now
        self._now, _, kind, sent, length = heapq.heappop(self._events)
        self._progress += (self._now - was) / slower
        return kind, sent, length

    def _at(self, when_s: float, kind: str, sent: float = 0.0, length: float = 0.0) -> None:
        heapq.heappush(self._events, (when_s, next(self._numbers), kind, sent, length))

    def _lognormal(self, sigma: float) -> float:
        return self._dice.lognormvariate(-(sigma**2) / 2, sigma)

    def _fill(self) -> None:
        while self._in_flight < min(self._limiter.limit, value(self._feed, self._now)):
            self._send()

    def _send(self) -> None:
        server, now = self._server, self._now
        self._in_flight += 1
        self.outcome.most_in_flight = max(self.outcome.most_in_flight, self._in_flight)
        length = self._lognormal(server.length_sigma)
        full = 0 < server.refuse_above <= self._busy + len(self._queue)
        if full or self._dice.random() < server.fault_rate:
            self._at(now + 0.01 * server.service_s, "refused")
        elif server.kind == "batch" or self._busy < value(server.capacity, now):
            self._begin(now, length)
        else:
            self._queue.append((now, length))

    def _begin(self, sent: float, length: float) -> None:
        server = self._server
        self._busy += 1
        takes_s = server.service_s * length * self._lognormal(server.sigma)
        if server.kind == "batch":
            end = self._progress + takes_s
            heapq.heappush(self._ends, (end, next(self._numbers), sent, length))
            return
        if server.kind == "thrash":
            held = self._busy + len(self._queue)
            takes_s *= 1 + 0.5 * max(0.0, held / value(server.capacity, self._now) - 1)
        self._at(self._now + takes_s, "done", sent, length)

    def _done(self, sent: float, length: float) -> None:
        self._busy -= 1
        self.outcome.ended.append(self._now)
        self._limiter.answered(
            self._now,
            latency_s=self._now - sent,
            in_flight=self._in_flight,
            work=100 * length,
        )
        self._in_flight -= 1


def throughput(server: Server, *, in_flight: int, at_s: float = 0.0) -> float:
    """Return rows a second in theory, with so many in flight, at a time."""
    capacity = value(server.capacity, at_s)
    n = min(in_flight, server.refuse_above or in_flight)
    if server.kind == "batch":
        return n / (1 + (n - 1) / capacity) / server.service_s
    if server.kind == "thrash":
        return min(n, capacity) / server.service_s / (1 + 0.5 * max(0.0, n / capacity - 1))
    return min(n, capacity) / server.service_s


def best_fixed(server: Server, *, at_s: float = 0.0) -> float:
    """Return rows a second with the best number in flight, up to 64 times the capacity."""
    capacity = value(server.capacity, at_s)
    numbers = [capacity * quarters // 4 for quarters in range(1, 257)]
    return max(throughput(server, in_flight=max(number, 1), at_s=at_s) for number in numbers)
