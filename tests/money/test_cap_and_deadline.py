"""Cost cap and deadline over many simulated runs with faults."""

import math
from random import Random

from mayfly.planning.pricing import fewest_replicas
from mayfly.planning.throughput import Rate
from mayfly.planning.tokens import Workload
from mayfly.planning.uncertainty import Estimate, Interval
from tests.support.simulated_endpoint import Outcome, Scenario, drive

CAPPED_RUNS = 200
TIMED_RUNS = 100
MOST = 16


def test_cost_cap_holds_in_every_simulated_run() -> None:
    over: list[float] = []
    stopped = 0
    for seed in range(CAPPED_RUNS):
        rng = Random(seed)
        rate = math.exp(rng.uniform(math.log(0.5), math.log(20)))
        replicas = rng.choice([1, 1, 2, 4, 8])
        minutes = rng.uniform(4, 40)
        scenario = Scenario(
            rows=max(50, int(rate * replicas * minutes * 60)),
            rows_per_s=rate,
            slots=rng.choice([16, 64, 128]),
            lost_per_h=rng.choice([0.0, 1.0, 6.0]),
            gone_at_s=rng.choice([0.0, 0.0, rng.uniform(300, 1500)]),
            drift=0.3,
        )
        replica_minute = scenario.price_usd_per_h / 60
        cap_usd = replica_minute * replicas * rng.uniform(1.0, minutes * 1.2)
        estimated_rate = Estimate(rate * math.exp(rng.gauss(0, 0.9)), 0.9)

        run = drive(scenario, seed, replicas=replicas, before=estimated_rate, cap_usd=cap_usd)

        assert run.usd <= cap_usd + replica_minute + 1e-9, (seed, run, cap_usd)
        assert run.done == scenario.rows or run.action == "stop_cost"
        stopped += run.action == "stop_cost"
        over.append((run.usd - cap_usd) / replica_minute)
    beyond = sum(excess > 1e-9 for excess in over)
    figure = (
        f"{CAPPED_RUNS} runs, {stopped} stopped at the cap; passed it: {beyond}, "
        f"by at most {max(0.0, *over):.2f} replica-minutes"
    )
    print(f"\ncap: {figure}")
    assert stopped > CAPPED_RUNS / 4


def best_fixed(scenario: Scenario, deadline_s: float, seed: int) -> Outcome | None:
    """Search the number of replicas that meets the deadline for the least, knowing the truth."""
    found = []
    for replicas in range(max(1, int(scenario.rows / scenario.rows_per_s / deadline_s)), MOST + 1):
        run = drive(scenario, seed, replicas=replicas)
        if run.answered_s <= deadline_s:
            found.append(run)
            if len(found) > 1:
                break
    return min(found, key=lambda run: run.usd, default=None)


def test_feasible_deadlines_are_met_near_the_least_cost() -> None:
    met, seed = 0, 0
    ratios: list[float] = []
    while len(ratios) < TIMED_RUNS:
        seed += 1
        rng = Random(1000 + seed)
        rate = math.exp(rng.uniform(math.log(1), math.log(10)))
        share = rng.uniform(1.2, 9)
        deadline_s = rng.uniform(45, 150) * 60
        scenario = Scenario(
            rows=int(rate * (deadline_s - 500) * share),
            rows_per_s=rate,
            slots=rng.choice([16, 64]),
            lost_per_h=rng.choice([0.0, 0.3]),
            drift=0.1,
        )
        best = best_fixed(scenario, deadline_s * 0.98, seed)
        if best is None:
            continue
        # Half of the runs know what finished runs taught, half only what the catalogue says.
        spread = rng.choice([0.12, 0.6])
        estimated_rate = Estimate(rate * math.exp(rng.gauss(0, spread * 0.8)), spread)
        load = Workload(rows=scenario.rows, prompt=Estimate(1e-9, 0), answer=Estimate(1.0, 0))
        hardware = Rate(
            work_per_s=estimated_rate,
            slots=float(scenario.slots),
            cold_start_s=Interval(scenario.start_s[0], 260.0, scenario.start_s[1]),
        )
        start = fewest_replicas(
            load, hardware, price_usd_per_h=6.0, within_s=deadline_s, most=MOST
        ).replicas

        run = drive(
            scenario, seed, replicas=start, maximum=MOST, before=estimated_rate,
            deadline_s=deadline_s,
        )  # fmt: skip

        met += run.action == "go" and run.answered_s <= deadline_s
        ratios.append(run.usd / best.usd)
    mean = sum(ratios) / len(ratios)
    near = sum(ratio <= 1.1 for ratio in ratios)
    figure = (
        f"{met} of {len(ratios)} met; cost {mean:.3f} of the best fixed choice on average, "
        f"within 10 % in {near}, at most {max(ratios):.2f}"
    )
    print(f"\ndeadline: {figure}")
    assert met >= 95
    assert near >= 95
