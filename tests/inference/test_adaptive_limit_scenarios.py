"""The adaptive limiter on servers of many kinds, in simulated time."""

import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mayfly.inference.adaptive_limit import AdaptiveLimiter
from mayfly.inference.concurrency import FLOOR, Fixed
from tests.support.simulated_server import Server, Simulation, best_fixed

SCENARIOS: dict[str, dict[str, Any]] = tomllib.loads(
    Path(__file__).with_name("adaptive_limit_scenarios.toml").read_text()
)


@pytest.mark.parametrize("seed", [7, 8])
@pytest.mark.parametrize("name", SCENARIOS)
def test_limit_reaches_the_target_of_the_scenario(name: str, seed: int) -> None:
    scenario = SCENARIOS[name]
    server, seconds = Server(**scenario["server"]), scenario["seconds"]
    limiter = AdaptiveLimiter(first=scenario.get("first", 64))

    outcome = Simulation(
        server,
        limiter,
        seed=seed,
        feed=scenario.get("feed", [(0, 10**9)]),
        scaled=scenario.get("scaled", []),
    ).run(seconds)

    starts = [at for at, _ in server.capacity]
    for start, end in pairwise([*starts, seconds]):
        settled = start + (0.1 * seconds if start == 0 else 0.25 * (end - start))
        share = outcome.rate(settled, end) / best_fixed(server, at_s=start)
        assert share >= scenario.get("share", 0), (start, share)
        least, most = scenario.get("limit", (FLOOR, 10**9))
        mean = outcome.mean_limit(settled, end)
        assert least <= mean <= most, (start, mean)
    assert outcome.refused <= scenario.get("refused", 1.0) * len(outcome.ended)


def test_simulated_server_matches_theory() -> None:
    server = Server(capacity=[(0, 64)])

    outcome = Simulation(server, Fixed(64)).run(300)

    assert outcome.rate(30, 300) == pytest.approx(best_fixed(server), rel=0.03)


@settings(max_examples=60)
@given(
    first=st.integers(1, 300),
    ceiling=st.integers(1, 300),
    history=st.lists(
        st.tuples(
            st.sampled_from(["answer", "refusal", "replicas"]),
            st.integers(1, 400),
            st.floats(0.0, 1e4),
        ),
        max_size=400,
    ),
)
def test_limit_stays_between_one_and_its_ceiling(
    first: int, ceiling: int, history: list[tuple[str, int, float]]
) -> None:
    limiter = AdaptiveLimiter(first=first, ceiling=ceiling)

    for now, (what, in_flight, value) in enumerate(history):
        if what == "answer":
            limiter.answered(now, latency_s=value, in_flight=in_flight, work=value)
        elif what == "refusal":
            limiter.overloaded(now, in_flight=in_flight - 1)
        else:
            limiter.scaled(value / 1e3)
        assert FLOOR <= limiter.limit <= ceiling


def test_refusals_halve_the_limit_at_most_once_per_round_trip() -> None:
    limiter = AdaptiveLimiter(first=1024)

    for in_flight in range(255, -1, -1):
        limiter.overloaded(0.0, in_flight=in_flight)

    assert limiter.limit == 125


def test_limit_of_an_underfilled_client_shrinks() -> None:
    limiter = AdaptiveLimiter(first=256)

    for _ in range(10_000):
        limiter.answered(0.0, latency_s=1.0, in_flight=40)

    assert limiter.limit == 64
