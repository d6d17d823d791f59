"""Requests keep to a replica, and each replica has its own prompt cache."""

import json
from collections import Counter
from typing import Any

import pytest

from tests.support.emulated_load import crowd_on, deployment
from tests.support.emulator_client import EmulatorClient
from together_emulator.inference.affinity import Sticky, cached_tokens, pick_replica
from together_emulator.state.store import Deployment, Replica, Step


def on_replicas(count: int) -> Deployment:
    """Return a deployment with that many idle replicas."""
    found = deployment()
    found.replicas = [Replica(id=f"rep_{n}", step=Step.READY, bills=True) for n in range(count)]
    return found


def named(key: str) -> Sticky:
    """Return a key that the client gave."""
    return Sticky(key=key.encode(), named=True)


def content(text: str) -> Sticky:
    """Return the hash of a request without a key."""
    return Sticky(key=text.encode(), named=False)


def replica_of(api: EmulatorClient, model: str, prompt: str = "Why?", **body: Any) -> str:
    """Return which replica answered."""
    headers = api.chat(model, prompt, **body).headers
    worker: str = json.loads(headers["x-i-router-log-event"])["worker_url"]
    return worker


@pytest.mark.parametrize("field", ["prompt_cache_key", "user"])
def test_requests_of_one_key_go_to_one_replica(api: EmulatorClient, field: str) -> None:
    endpoint, _ = api.serve(replicas=(4, 4))
    name = endpoint["name"]

    same = {replica_of(api, name, f"Q{n}", **{field: "docs"}) for n in range(12)}
    spread = {replica_of(api, name, "Q", **{field: f"key {n}"}) for n in range(24)}

    assert len(same) == 1
    assert len(spread) == 4


def test_requests_with_both_keys_follow_the_cache_key(api: EmulatorClient) -> None:
    endpoint, _ = api.serve(replicas=(4, 4))

    replicas = {
        replica_of(api, endpoint["name"], prompt_cache_key="docs", user=f"user {n}")
        for n in range(12)
    }

    assert len(replicas) == 1


def test_requests_without_a_key_follow_their_content(api: EmulatorClient) -> None:
    endpoint, _ = api.serve(replicas=(4, 4))
    name = endpoint["name"]

    same = {replica_of(api, name, "always this") for _ in range(8)}
    spread = {replica_of(api, name, f"Q{n}") for n in range(24)}

    assert len(same) == 1
    assert len(spread) == 4


def test_keys_are_spread_evenly() -> None:
    deployment_object = on_replicas(4)

    first_choices = Counter(
        replica.id
        for n in range(4_000)
        if (replica := pick_replica(deployment_object, 0, named(f"group-{n}"))) is not None
    )

    assert min(first_choices.values()) > 850


def test_keys_mostly_keep_their_replica_when_one_is_added() -> None:
    before, after = on_replicas(3), on_replicas(4)

    moved = 0
    for n in range(1_000):
        old, new = (pick_replica(d, 0, named(f"group-{n}")) for d in (before, after))
        assert old is not None
        assert new is not None
        moved += old.id != new.id

    assert 150 < moved < 350


def test_key_leaves_its_replica_only_when_that_has_no_slot() -> None:
    deployment_object = on_replicas(2)
    first_choice = pick_replica(deployment_object, 4, named("docs"))
    assert first_choice is not None

    first_choice.in_flight = 3
    busy = pick_replica(deployment_object, 4, named("docs"))
    first_choice.in_flight = 4
    full = pick_replica(deployment_object, 4, named("docs"))

    assert busy is first_choice
    assert full is not first_choice


def test_content_leaves_a_replica_that_is_busier_than_the_others() -> None:
    deployment_object = on_replicas(2)
    first_choice = pick_replica(deployment_object, 0, content("a prompt"))
    assert first_choice is not None

    first_choice.in_flight = 9

    assert pick_replica(deployment_object, 0, content("a prompt")) is not first_choice


def test_request_without_free_slot_gets_no_replica() -> None:
    deployment_object = on_replicas(2)
    for replica in deployment_object.replicas:
        replica.in_flight = 4

    assert pick_replica(deployment_object, 4, named("docs")) is None


def test_prefix_is_cached_on_the_replica_that_prefilled_it() -> None:
    one, other = on_replicas(2).replicas
    prompt = "A system prompt that all rows share. " * 100

    first, again, elsewhere = (cached_tokens(r, prompt) for r in (one, one, other))

    assert (first, elsewhere) == (0, 0)
    assert again > 800


def test_cached_tokens_are_lost_when_rows_of_a_group_are_spread(api: EmulatorClient) -> None:
    """Thirty-two groups of eight rows: a key each keeps a group on one replica of four."""
    shares = []
    for name, keyed in (("keyed", True), ("spread", False)):
        endpoint, _ = api.serve(name, replicas=(4, 4))
        cached = prompts = 0
        for group in range(32):
            shared = f"{name} group {group}. " + "A document that they share. " * 60
            for row in range(8):
                body = {"prompt_cache_key": f"group {group}"} if keyed else {}
                usage = api.chat(endpoint["name"], f"{shared} Row {row}", **body).json()["usage"]
                cached += usage["cached_tokens"]
                prompts += usage["prompt_tokens"]
        shares.append(cached / prompts)

    assert shares[0] > 0.75
    assert shares[1] < 0.65


def test_slots_setting_limits_concurrency_of_a_replica() -> None:
    with crowd_on(slots=2) as crowd:
        endpoint, _ = crowd.api.serve()
        crowd.send(endpoint["name"], 5)
        while crowd.clock.sleepers < 2:
            pass
        working = crowd.api.in_flight()
        crowd.finish()

        assert working == 2
        assert crowd.statuses == [200] * 5


def test_latency_setting_is_latency_of_every_response() -> None:
    with crowd_on(latency_s=7.5) as crowd:
        endpoint, _ = crowd.api.serve()
        crowd.send(endpoint["name"], 3)
        while crowd.clock.sleepers < 3:
            pass
        crowd.clock.advance(7.4)
        early = list(crowd.statuses)
        crowd.clock.advance(0.2)
        crowd.finish()

        assert early == []
        samples = crowd.api.emulator._store.deployments.values()
        assert {sample.latency_s for d in samples for sample in d.samples} == {7.5}
