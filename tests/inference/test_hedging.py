"""Which of the last rows are hedged."""

import heapq
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mayfly.inference.hedging import HEDGE_BUDGET, MIN_SAMPLES, Hedging

MEDIAN_S, SIGMA = 0.4, 0.49


def test_hedge_repeats_early_where_latencies_are_random() -> None:
    dice, hedging = random.Random(7), Hedging(replicas=2)
    for _ in range(1000):
        hedging.answered(dice.lognormvariate(math.log(MEDIAN_S), SIGMA), 42)

    chosen = hedging.worth_repeating({"new": 0.0, "usual": 0.5, "slow": 1.0}, room=2)

    assert chosen == ["slow", "new"]


def test_hedge_repeats_outliers_only_where_length_explains_latency() -> None:
    dice, hedging = random.Random(7), Hedging(replicas=2)
    for _ in range(1000):
        tokens = dice.lognormvariate(math.log(300), SIGMA)
        hedging.answered(0.1 + tokens / 1000 * dice.uniform(0.95, 1.05), tokens)

    chosen = hedging.worth_repeating(
        {number: number / 100 for number in range(70)} | {"lost": 5.0}, room=100
    )

    assert chosen == ["lost"]


def test_hedge_with_one_replica_repeats_far_slower_requests_only() -> None:
    hedging = Hedging(replicas=1)
    for number in range(1000):
        hedging.answered(1.0 + number % 10 / 10, 42)

    assert hedging.worth_repeating({"new": 0.0, "slow": 2.5, "lost": 3.0}, room=3) == ["lost"]


@given(
    latencies=st.lists(st.tuples(st.floats(0, 1e4), st.integers(1, 10_000)), max_size=200),
    waited=st.lists(st.floats(0, 1e5), max_size=50),
    room=st.integers(0, 60),
    replicas=st.integers(1, 3),
)
def test_hedges_are_bounded_by_free_slots_and_a_share_of_rows(
    latencies: list[tuple[float, int]], waited: list[float], room: int, replicas: int
) -> None:
    hedging, repeated = Hedging(replicas=replicas), 0

    for latency_s, tokens in latencies:
        hedging.answered(latency_s, tokens)
        chosen = hedging.worth_repeating(dict(enumerate(waited)), room=room)
        repeated += len(chosen)
        assert len(set(chosen)) == len(chosen) <= room

    assert repeated <= HEDGE_BUDGET * len(latencies)
    assert not repeated or len(latencies) >= MIN_SAMPLES


@pytest.mark.parametrize("seed", range(3))
def test_hedges_halve_the_excess_time_of_the_last_rows(seed: int) -> None:
    alone, hedged = lost_at_the_end(seed, None), lost_at_the_end(seed, Hedging(replicas=2))

    assert hedged < 0.65 * alone


def lost_at_the_end(seed: int, hedging: Hedging | None, *, rows: int = 8_000) -> float:
    """Return how long 128 slots take above the ideal, in simulated seconds."""
    dice, slots, now, sent = random.Random(seed), 128, 0.0, 0
    events: list[tuple[float, int]] = []
    flying: dict[int, list[float]] = {}

    def send(row: int) -> None:
        flying.setdefault(row, []).append(now)
        heapq.heappush(events, (now + dice.lognormvariate(math.log(MEDIAN_S), SIGMA), row))

    while sent < rows or flying:
        while sent < rows and len(flying) < slots:
            send(sent)
            sent += 1
        now, row = heapq.heappop(events)
        if row not in flying:
            continue
        began = flying.pop(row)
        if hedging is None:
            continue
        hedging.answered(now - began[0], 42)
        if sent == rows:
            alone = {row: now - times[0] for row, times in flying.items() if len(times) == 1}
            for chosen in hedging.worth_repeating(
                alone, room=slots - sum(map(len, flying.values()))
            ):
                send(chosen)
    return now - rows * MEDIAN_S * math.exp(SIGMA**2 / 2) / slots
