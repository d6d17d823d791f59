"""Duration and cost of a job, and which way is cheaper."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mayfly.models.offers import Offer
from mayfly.planning.measurements import Measurement
from mayfly.planning.pricing import advice, by_cost, by_token, dollars, fewest_replicas, forecast
from mayfly.planning.throughput import (
    Rate,
    Throughput,
    estimated_rate,
    extrapolate_throughput,
    mean_in_flight,
    work,
)
from mayfly.planning.tokens import Workload
from mayfly.planning.uncertainty import Estimate, Interval

loads = st.builds(
    Workload,
    rows=st.integers(1, 10_000_000),
    prompt=st.builds(Estimate, st.floats(1, 5000), st.floats(0.01, 0.5)),
    answer=st.builds(Estimate, st.floats(1, 2000), st.floats(0.01, 1)),
    body_bytes=st.floats(0, 10_000),
)
rates = st.builds(
    Rate,
    work_per_s=st.builds(Estimate, st.floats(10, 50_000), st.floats(0.05, 1)),
    slots=st.floats(1, 512),
)


def offer(hardware: str, usd: float, tokens_per_s: float | None = None) -> Offer:
    """Return an offer of which price and benchmark matter."""
    return Offer(
        hardware=hardware, gpu_type="h100", gpu_count=1, gpu_memory_gib=80,
        price_usd_per_h=usd, tokens_per_s=tokens_per_s,
    )  # fmt: skip


@given(load=loads, rate=rates, replicas=st.integers(1, 16))
def test_forecast_costs_a_minute_per_replica_and_bounds_are_ordered(
    load: Workload, rate: Rate, replicas: int
) -> None:
    found = forecast(load, rate, price_usd_per_h=6.0, replicas=replicas)

    assert found.usd.low >= replicas * 0.1 - 1e-9
    for interval in (found.seconds, found.busy_s, found.usd):
        assert 0 < interval.low <= interval.mid <= interval.high
    assert found.usd.mid * 600 / replicas >= found.busy_s.mid - 1e-6


@given(load=loads, rate=rates, replicas=st.integers(1, 8))
def test_more_replicas_are_faster_and_never_much_cheaper(
    load: Workload, rate: Rate, replicas: int
) -> None:
    few = forecast(load, rate, price_usd_per_h=6.0, replicas=replicas)
    more = forecast(load, rate, price_usd_per_h=6.0, replicas=replicas + 1)

    assert more.busy_s.mid <= few.busy_s.mid + 1e-6
    assert more.usd.mid >= few.usd.mid - replicas * 0.1 - 1e-9


@given(load=loads, rate=rates, within_s=st.floats(60, 1e6), most=st.integers(1, 24))
def test_fewest_replicas_are_within_capacity(
    load: Workload, rate: Rate, within_s: float, most: int
) -> None:
    assert 1 <= fewest_replicas(
        load, rate, price_usd_per_h=6.0, within_s=within_s, most=most
    ).replicas <= most  # fmt: skip


@given(load=loads, price=st.tuples(st.floats(0, 10), st.floats(0, 10)))
def test_batch_api_costs_half_within_its_limits(load: Workload, price: tuple[float, float]) -> None:
    serverless, batch = by_token(load, price)

    assert batch.usd.mid == pytest.approx(serverless.usd.mid / 2)
    assert batch.requests * 50_000 >= load.rows
    assert batch.requests * 100e6 >= load.rows * load.body_bytes - 1e-3


def test_model_without_token_price_is_not_compared() -> None:
    load = Workload(rows=1, prompt=Estimate(1, 0.1), answer=Estimate(1, 0.1))

    assert by_token(load, None) == ()
    found = forecast(load, Rate(work_per_s=Estimate(1, 0.1)), price_usd_per_h=1, replicas=1)
    assert advice(found, ()) == ""


@pytest.mark.parametrize(
    ("rows", "expected"), [(300, "the Batch API is cheaper"), (5_000_000, "cheapest option")]
)
def test_advice_is_batch_api_for_few_rows_and_endpoint_for_many(rows: int, expected: str) -> None:
    load = Workload(rows=rows, prompt=Estimate(200, 0.1), answer=Estimate(100, 0.1))
    rate = Rate(work_per_s=Estimate(8000, 0.1), measured=True)

    dedicated = forecast(load, rate, price_usd_per_h=5.49, replicas=1)

    assert expected in advice(dedicated, by_token(load, (0.3, 0.3)))


def test_ranking_is_by_hourly_price_until_measurements_exist() -> None:
    cheap, dear = offer("1xnvidia-h100-80gb", 5.0, 100.0), offer("1xnvidia-b200-180gb", 9.0, 400.0)
    load = Workload(rows=100_000, prompt=Estimate(100, 0.1), answer=Estimate(100, 0.1))

    def first(past: list[Measurement]) -> Offer:
        offers = [cheap, dear]
        found = [
            forecast(
                load, estimated_rate(o, model="m", past=past, offers=offers),
                price_usd_per_h=o.price_usd_per_h, replicas=1,
            )
            for o in offers
        ]  # fmt: skip
        return by_cost(offers, found)[0][0]

    def run(of: Offer, rate: float) -> Measurement:
        return Measurement(model="m", hardware=of.hardware, work_per_s=rate)

    assert first([]) == cheap
    assert first([run(dear, 40_000.0)]) == cheap
    assert first([run(cheap, 5000.0), run(dear, 40_000.0)]) == dear
    assert first([run(cheap, 5000.0), run(dear, 6000.0)]) == cheap


def test_missing_throughput_is_estimated_from_tokens_per_dollar() -> None:
    known, unknown = offer("a", 5.0, 100.0), offer("b", 10.0)

    rate = estimated_rate(unknown, model="m", past=[], offers=[known, unknown])

    assert rate.work_per_s.mid == pytest.approx(8000.0)
    assert (
        rate.work_per_s.spread
        > estimated_rate(known, model="m", past=[], offers=[]).work_per_s.spread
    )
    assert not rate.measured


@given(
    start=st.floats(1e-4, 0.1), slope=st.floats(1e-6, 0.01), few=st.integers(1, 8),
    more=st.integers(1, 64), slots=st.integers(1, 512),
)  # fmt: skip
def test_two_latency_points_give_the_line(
    start: float, slope: float, few: int, more: int, slots: int
) -> None:
    many = few + more

    rate, at = extrapolate_throughput(
        (few, start + slope * few), (many, start + slope * many), float(slots)
    )

    assert at == max(slots, many)
    assert rate == pytest.approx(at / (start + slope * at), rel=1e-3)


@given(rate=st.floats(0.1, 100), replicas=st.integers(1, 8), before=st.floats(0.01, 1000))
def test_throughput_estimate_follows_the_measurements_of_the_run(
    rate: float, replicas: int, before: float
) -> None:
    throughput = Throughput()
    for second in range(10, 1500, 10):
        throughput.sample(second, int(second * rate * replicas), second * replicas)

    combined = throughput.estimate(Estimate(before, 0.9), 16)

    if throughput.rows > 500:
        assert combined.mid == pytest.approx(rate, rel=0.2)
        assert combined.spread < 0.2


def test_throughput_estimate_forgets_old_samples() -> None:
    throughput = Throughput(window_s=100)
    for second in range(10, 1000, 10):
        rows = min(second, 500) * 10 + max(0, second - 500)
        throughput.sample(second, rows, second)

    measured = throughput.measured(8)

    assert measured is not None
    assert measured.mid == pytest.approx(1.0)


@given(count=st.integers(1, 20), length_s=st.floats(0.1, 10), rounds=st.integers(1, 5))
def test_concurrency_of_requests_is_their_overlap(count: int, length_s: float, rounds: int) -> None:
    spans = [
        (number * (length_s + 1), number * (length_s + 1) + length_s)
        for number in range(rounds)
        for _ in range(count)
    ]

    assert mean_in_flight(spans) == pytest.approx(count)
    assert mean_in_flight([]) == 1.0


def test_work_weighs_output_tokens_above_input_tokens() -> None:
    assert work(100, 0, 50) == pytest.approx(55.0)
    assert work(100, 100, 50) == pytest.approx(50.0)
    assert work(100, 200, 0) == 0.0


@pytest.mark.parametrize(
    ("usd", "text"), [(0.0, "$0.00"), (0.0041, "$0.0041"), (0.37, "$0.37"), (1240.0, "$1,240")]
)
def test_amounts_are_formatted_for_people(usd: float, text: str) -> None:
    assert dollars(usd) == text


def test_infinite_interval_is_formatted() -> None:
    assert not Interval(1, 2, 3).holds(math.inf)
