"""Throughput of the adaptive limit over whole runs, relative to the best fixed limit.

Run it for the full table (20 seeds, minutes): python -m tests.support.limiter_runs [SEEDS]
"""

import sys
from itertools import product
from typing import Any, NamedTuple

from mayfly.inference.adaptive_limit import AdaptiveLimiter
from tests.support.simulated_server import Server, Simulation, best_fixed

LATENCIES: dict[str, Any] = {
    "explained": {"sigma": 0.2, "length_sigma": 0.5},
    "constant": {"sigma": 0.0, "length_sigma": 0.0},
    "random": {"sigma": 0.6, "length_sigma": 0.0},
}
"""How requests' times differ: by their length, not at all, or by what no length explains."""

ROUND_TRIPS = (16, 30, 100)
CAPACITIES = (8, 64, 512, 2048)


class Case(NamedTuple):
    """One server and one length of run.

    Attributes:
        start: What the limiter begins from: `guess`, `platform` (the capacity as the platform says
            it) or `history` (the limit of an earlier run).
    """

    capacity: int
    latency: str
    round_trips: int
    kind: str = "queue"
    start: str = "guess"

    def limiter(self) -> AdaptiveLimiter:
        """Return a limiter that begins as the case says; an earlier run settled an eighth above."""
        limiter = AdaptiveLimiter()
        if self.start != "guess":
            expected = round(self.capacity * 1.125) if self.start == "history" else self.capacity
            limiter.begin_at(expected, self.start)  # type: ignore[arg-type]
        return limiter

    def share(self, seed: int) -> float:
        """Return rows of the whole run over those of the best fixed number, in theory."""
        server = Server(capacity=[(0, self.capacity)], kind=self.kind, **LATENCIES[self.latency])
        outcome = Simulation(server, self.limiter(), seed=seed).run(self.round_trips)
        return outcome.rate(0, self.round_trips) / best_fixed(server)

    def worst(self, seeds: int) -> float:
        """Return the least share over seeds."""
        return min(self.share(seed) for seed in range(seeds))


def main(seeds: int) -> None:
    """Print the worst share of every case."""
    for start, kind, capacity in product(("guess", "history"), ("queue", "thrash"), CAPACITIES):
        for latency in LATENCIES:
            shares = [
                Case(capacity, latency, trips, kind, start).worst(seeds) for trips in ROUND_TRIPS
            ]
            row = "  ".join(f"{share:.2f}" for share in shares)
            sys.stdout.write(f"{start:8} {kind:7} {capacity:5} {latency:10} {row}\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
