"""Load: latency by concurrency, queueing, overload, draining."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.emulated_load import crowd_on, deployment
from together_emulator.inference.serving import Work, service_s


@given(tokens=st.integers(1, 4000), in_flight=st.integers(1, 500))
def test_higher_concurrency_raises_latency_and_throughput(tokens: int, in_flight: int) -> None:
    work = Work(prompt_tokens=100, completion_tokens=tokens)
    one, other = (service_s(deployment(), work, n) for n in (in_flight, in_flight + 1))

    assert other > one
    assert (in_flight + 1) / other > in_flight / one


@given(prompt=st.integers(256, 30_000), cached=st.integers(1, 255), written=st.integers(1, 1000))
def test_cached_prompt_has_lower_latency(prompt: int, cached: int, written: int) -> None:
    cold = Work(prompt_tokens=prompt, completion_tokens=written)
    warm = Work(prompt_tokens=prompt, cached_tokens=cached, completion_tokens=written)

    assert service_s(deployment(), warm, 4) < service_s(deployment(), cold, 4)


def test_single_stream_runs_at_the_published_speed() -> None:
    one = deployment()
    short, long = (Work(prompt_tokens=1, completion_tokens=n) for n in (100, 1100))

    took_s = service_s(one, long, 1) - service_s(one, short, 1)

    assert took_s == pytest.approx(1000 / (one.config.profile.decoding_tps or 0))


def test_request_beyond_concurrency_is_queued_and_answered() -> None:
    with crowd_on() as crowd:
        endpoint, _ = crowd.api.serve(replicas=(2, 2), maxConcurrentRequestsPerReplica="3")

        crowd.send(endpoint["name"], 10)
        while crowd.clock.sleepers < 6:
            pass
        working = crowd.api.in_flight()
        crowd.finish()

        assert working == 6
        assert crowd.statuses == [200] * 10
        assert crowd.api.in_flight() == 0


@pytest.mark.parametrize("status", [503, 429])
def test_request_beyond_the_queue_is_refused_as_overload(status: int) -> None:
    with crowd_on(queue_per_replica=2, overload=status) as crowd:
        endpoint, _ = crowd.api.serve(maxConcurrentRequestsPerReplica="1")

        crowd.send(endpoint["name"], 5)
        crowd.finish()

        assert sorted(crowd.statuses) == [200, 200, 200, status, status]


def test_draining_replica_finishes_requests_and_bills_until_then() -> None:
    with crowd_on(drain_s=5) as crowd:
        endpoint, deployment = crowd.api.serve()
        found = crowd.api.emulator._store.deployments[deployment["id"]]
        crowd.api.emulator.change(answer_tokens=(20_000, 20_001))
        crowd.send(endpoint["name"], 1)
        while crowd.clock.sleepers < 1:
            pass

        crowd.api.scale(deployment, 0, 0)
        crowd.clock.advance(60)
        draining = (crowd.api.state(deployment), crowd.api.emulator.billing)
        crowd.finish()
        crowd.clock.advance(5)

        assert draining == ("STOPPING", 1)
        assert crowd.statuses == [200]
        assert found.state.name == "STOPPED"
        assert crowd.api.emulator.billing == 0


def test_drain_limit_cancels_remaining_requests() -> None:
    with crowd_on(drain_s=5, drain_limit_s=30) as crowd:
        endpoint, deployment = crowd.api.serve()
        crowd.api.emulator.change(answer_tokens=(20_000, 20_001))
        crowd.send(endpoint["name"], 1)
        while crowd.clock.sleepers < 1:
            pass

        crowd.api.scale(deployment, 0, 0)
        crowd.clock.advance(31)
        ended = crowd.api.state(deployment)
        crowd.finish()

        assert ended == "STOPPED"
        assert crowd.statuses == [502]
