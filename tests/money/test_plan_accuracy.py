"""Plans against actual results: intervals, and the hardware that calibration finds."""

import math
from random import Random

from mayfly.models.offers import Offer
from mayfly.planning.measurements import Measurement
from mayfly.planning.pricing import by_cost, forecast
from mayfly.planning.throughput import cold_start, estimated_rate, extrapolate_throughput, work
from mayfly.planning.tokens import EarlierResponses, Sample, workload
from tests.support.simulated_endpoint import Scenario, drive

MODEL = "some/model"
DEFAULT_SLOTS = 128


def offer(hardware: str, usd: float, tokens_per_s: float | None) -> Offer:
    """Return an offer of which price and benchmark matter."""
    return Offer(
        hardware=hardware, gpu_type="h100", gpu_count=1, gpu_memory_gib=80,
        price_usd_per_h=usd, tokens_per_s=tokens_per_s,
    )  # fmt: skip


class Machine:
    """Hardware as the emulator has it: with n in flight each stream runs at 1 / (1 + (n-1) / s)."""

    def __init__(self, rng: Random, index: int) -> None:
        self.alone = rng.uniform(50, 250)
        self.saturation = rng.uniform(32, 128)
        usd = self.alone * self.saturation * math.exp(rng.gauss(0, 0.5)) / 1500
        self.offer = offer(f"{index + 1}xnvidia-h100-80gb", usd, self.alone)

    def seconds(self, in_flight: float) -> float:
        """One unit of work with so many in flight."""
        return (1 + (in_flight - 1) / self.saturation) / self.alone

    @property
    def work_per_s(self) -> float:
        """Of a replica with all slots in use."""
        return DEFAULT_SLOTS / self.seconds(DEFAULT_SLOTS)

    @property
    def usd_per_work(self) -> float:
        """What the work really costs."""
        return self.offer.price_usd_per_h / self.work_per_s


def test_plan_intervals_contain_the_actual_cost_in_9_of_10_runs() -> None:
    held = {"catalogue": 0, "learned": 0}
    widths = {"catalogue": 0.0, "learned": 0.0}
    cases = 100
    for seed in range(cases):
        rng = Random(seed)
        machine = Machine(rng, 0)
        prompt, ratio = rng.uniform(30, 600), math.exp(rng.gauss(0, 0.15))
        max_tokens = rng.choice([64, 128, 256, 512])
        answer = max_tokens * rng.uniform(0.15, 0.9)
        rows = int(math.exp(rng.uniform(math.log(5_000), math.log(60_000))))
        sample = Sample(
            rows=rows, tokens=tuple(prompt / ratio * rng.uniform(0.5, 1.5) for _ in range(128))
        )
        start_s = rng.uniform(150, 600)

        def measurement(
            rng: Random = rng,
            machine: Machine = machine,
            prompt: float = prompt,
            answer: float = answer,
            ratio: float = ratio,
            start_s: float = start_s,
        ) -> Measurement:
            """Return what one finished run of the same question has seen."""
            return Measurement(
                provider="p", model=MODEL, hardware=machine.offer.hardware, prompt_key="key",
                answered=2000, prompt_tokens=int(2000 * prompt),
                completion_tokens=int(2000 * answer * math.exp(rng.gauss(0, 0.03))),
                token_ratio=ratio, work_per_s=machine.work_per_s * math.exp(rng.gauss(0, 0.08)),
                in_flight=DEFAULT_SLOTS, cold_start_s=start_s * rng.uniform(0.8, 1.25),
            )  # fmt: skip

        per_s = machine.work_per_s / work(prompt, 0, answer) * math.exp(rng.gauss(0, 0.05))
        scenario = Scenario(
            rows=rows, rows_per_s=per_s, slots=DEFAULT_SLOTS, start_s=(start_s, start_s),
            price_usd_per_h=machine.offer.price_usd_per_h,
            tick_s=min(3.0, DEFAULT_SLOTS / per_s / 5),
        )  # fmt: skip
        truth = drive(scenario, seed, replicas=1)
        for name, past in (("catalogue", []), ("learned", [measurement() for _ in range(3)])):
            load = workload(
                sample, rows=rows, model=MODEL, prompt_key="key", max_tokens=max_tokens, past=past
            )
            rate = estimated_rate(machine.offer, model=MODEL, past=past, offers=[machine.offer])

            plan = forecast(load, rate, price_usd_per_h=machine.offer.price_usd_per_h, replicas=1)

            held[name] += plan.seconds.holds(truth.answered_s) and plan.usd.holds(truth.usd)
            widths[name] += math.log(plan.usd.high / plan.usd.low)
    for name, count in held.items():
        factor = math.exp(widths[name] / cases / 2)
        print(
            f"\nintervals, {name}: {count} of {cases} hold time and cost; "
            f"a factor of {factor:.2f} either way"
        )
    assert min(held.values()) >= 0.9 * cases
    assert widths["learned"] < 0.5 * widths["catalogue"]


def test_calibration_chooses_hardware_within_5_percent_of_the_cheapest() -> None:
    worst, blind, cases = 0.0, 0.0, 50
    for seed in range(cases):
        rng = Random(seed)
        machines = [Machine(rng, index) for index in range(3)]
        machines.sort(key=lambda machine: machine.offer.price_usd_per_h)
        past = []
        for machine in machines:
            points = [
                (count, machine.seconds(count) * math.exp(rng.gauss(0, 0.01))) for count in (4, 32)
            ]
            rate, _ = extrapolate_throughput(points[0], points[1], DEFAULT_SLOTS)
            past.append(
                Measurement(
                    provider="p", model=MODEL, hardware=machine.offer.hardware,
                    work_per_s=rate, in_flight=DEFAULT_SLOTS,
                )
            )  # fmt: skip
        offers = [machine.offer for machine in machines]
        load = workload(
            Sample(rows=100_000, tokens=(100.0,) * 50), rows=100_000, model=MODEL, prompt_key="",
            max_tokens=100,
        )  # fmt: skip
        forecasts = [
            forecast(
                load, estimated_rate(o, model=MODEL, past=past, offers=offers),
                price_usd_per_h=o.price_usd_per_h, replicas=1,
            )
            for o in offers
        ]  # fmt: skip

        chosen, _ = by_cost(offers, forecasts)[0]

        best = min(machine.usd_per_work for machine in machines)
        taken = next(machine for machine in machines if machine.offer == chosen)
        worst = max(worst, taken.usd_per_work / best - 1)
        blind = max(blind, machines[0].usd_per_work / best - 1)
    print(
        f"\ncalibration: at most {100 * worst:.1f} % above the true cheapest in {cases} cases "
        f"(the cheapest per hour: up to {100 * blind:.0f} %)"
    )
    assert worst <= 0.05


def test_existing_answers_decide_the_expected_output_length() -> None:
    sample = Sample(rows=1000, tokens=(50.0,) * 100)

    load = workload(
        sample, rows=900, model=MODEL, prompt_key="", max_tokens=512,
        earlier=EarlierResponses(rows=400, prompt_tokens=22_000, completion_tokens=8_000),
    )  # fmt: skip

    assert load.answer.interval.holds(20.0)
    assert load.answer.interval.high < 30
    assert load.prompt.mid == 55.0


def test_observed_cold_start_is_expected_again() -> None:
    assert cold_start([300.0, 280.0]).mid == 280.0
    assert cold_start([]).low < 30
