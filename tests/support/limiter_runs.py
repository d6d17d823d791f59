"""Throughput of the adaptive limit over whole runs, relative to the best fixed limit.

Run it for the full table (20 seeds, minutes): python -m tests.support.limiter_runs [SEEDS]
"""

import sys
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from statistics import median
from typing import Any, NamedTuple

from mayfly.inference.adaptive_limit import AdaptiveLimiter
from mayfly.inference.concurrency import Fixed, Limiter
from tests.support.simulated_server import Outcome, Server, Simulation, best_fixed

LATENCIES: dict[str, Any] = {
    "explained": {"sigma": 0.2, "length_sigma": 0.5},
    "constant": {"sigma": 0.0, "length_sigma": 0.0},
    "random": {"sigma": 0.6, "length_sigma": 0.0},
}
"""How requests' times differ: by their length, not at all, or by what no length explains."""

STARTS = ("fixed", "guess", "platform", "history")
KINDS = ("queue", "thrash", "refuse")
CAPACITIES = (8, 64, 512, 2048)
ROUND_TRIPS = (16, 30, 100)


class Case(NamedTuple):
    """One server, and what is known about it.

    Attributes:
        kind: Of the server, see there; `refuse` answers 429 above the capacity.
        start: What the limiter begins from: `guess`, `platform` (the capacity as the platform says
            it) or `history` (the limit of an earlier run, which settled an eighth above it);
            `fixed` is the best number itself, without a search.
    """

    start: str
    kind: str
    capacity: int
    latency: str

    def server(self) -> Server:
        """Return the server."""
        latency = LATENCIES[self.latency]
        if self.kind == "refuse":
            twice = [(0, 2 * self.capacity)]
            return Server(capacity=twice, refuse_above=self.capacity, **latency)
        return Server(capacity=[(0, self.capacity)], kind=self.kind, **latency)

    def limiter(self) -> Limiter:
        """Return a limiter that begins as the case says."""
        if self.start == "fixed":
            return Fixed(self.capacity)
        limiter = AdaptiveLimiter()
        if self.start == "history":
            limiter.begin_at(round(self.capacity * 1.125), "history")
        elif self.start == "platform":
            limiter.begin_at(self.capacity, "platform")
        return limiter

    def run(self, round_trips: float, seed: int) -> Outcome:
        """Run for a number of round trips, which take a second each."""
        return Simulation(self.server(), self.limiter(), seed=seed).run(round_trips)

    def shares(self, round_trips: tuple[int, ...], seed: int) -> list[float]:
        """Return rows until each number of round trips over those of the best fixed number.

        The rows of the best fixed number are those of theory: simulated, its first answers take a
        round trip, so that it comes to less itself; see `fixed`.
        """
        # Constant latencies end together: half a round trip more, so that the last ones count.
        outcome, best = self.run(max(round_trips) + 0.5, seed), best_fixed(self.server())
        return [outcome.rate(0, trips) / best for trips in round_trips]

    def worst(self, round_trips: tuple[int, ...], seeds: int) -> list[float]:
        """Return the least shares over seeds."""
        runs = [self.shares(round_trips, seed) for seed in range(seeds)]
        return [min(shares) for shares in zip(*runs, strict=True)]

    def seconds(self, rows: int, seed: int) -> float:
        """Return the seconds until so many rows are answered."""
        trips = 4 * rows / best_fixed(self.server()) + 10
        return self.run(trips, seed).ended[rows - 1]


def _line(case: Case, seeds: int) -> str:
    runs = [case.shares(ROUND_TRIPS, seed) for seed in range(seeds)]
    row = "  ".join(f"{min(one):.3f} {median(one):.3f}" for one in zip(*runs, strict=True))
    return f"{case.start:8} {case.kind:6} {case.capacity:5} {case.latency:9}  {row}\n"


def main(seeds: int) -> None:
    """Print the worst and the median share of every case."""
    heads = "  ".join(f"{trips:5} trips" for trips in ROUND_TRIPS)
    sys.stdout.write(f"{'worst and median':33}  {heads}\n")
    cases = [Case(*one) for one in product(STARTS, KINDS, CAPACITIES, LATENCIES)]
    with ProcessPoolExecutor() as pool:
        for line in pool.map(_line, cases, [seeds] * len(cases)):
            sys.stdout.write(line)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
