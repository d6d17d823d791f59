"""Events and analytics of an endpoint, read by the official SDK."""

from datetime import timedelta
from typing import Any

import pytest
from together import Together

from tests.support.emulator_client import DRAIN_S, EmulatorClient, code


def test_events_list_lifecycle_newest_first(together: Together, api: EmulatorClient) -> None:
    endpoint, deployment = api.serve()
    api.scale(deployment, 0, 0)
    api.emulator.clock.advance(DRAIN_S)

    events = list(together.endpoints.list_events(endpoint["id"]))

    times = [event.created_at for event in events]
    assert times == sorted(times, reverse=True)
    assert {event.type for event in events} == {
        "endpoint.created",
        "endpoint.updated",
        "deployment.created",
        "deployment.updated",
        "deployment.scaled",
        "condition.set",
    }
    assert all(event.endpoint_id == endpoint["id"] for event in events)


def test_events_can_be_paged_and_filtered(together: Together, api: EmulatorClient) -> None:
    endpoint, deployment = api.serve()
    since = api.emulator.clock.epoch + timedelta(seconds=100)

    def seen(**query: Any) -> list[str]:
        return [event.id for event in together.endpoints.list_events(endpoint["id"], **query)]

    every = seen()
    scaled = together.endpoints.list_events(
        endpoint["id"], types=["deployment.scaled"], deployment_ids=[deployment["id"]]
    ).data

    assert seen(limit=2) == every
    assert [(event.old_replicas, event.new_replicas) for event in scaled] == [(0, 1)]
    assert seen(since=since) + seen(until=since) == every
    assert set(seen(deployment_ids=[deployment["id"]])) < set(every)
    both = ["SOURCE_KIND_ENDPOINT", "SOURCE_KIND_DEPLOYMENT"]
    assert seen(deployment_ids=[deployment["id"]], source_kinds=both) == every
    assert seen(min_level="LEVEL_ERROR") == []
    assert seen(subject_id="Ready") == seen(types=["condition.set"])


@pytest.mark.parametrize(
    "query",
    [
        {"deploymentIds": "dep_none"},
        {"minLevel": "LOUD"},
        {"since": "yesterday"},
        {"since": "2026-11-01T00:00:00"},
        {"limit": "10001"},
        {"colour": "red"},
    ],
)
def test_invalid_events_query_is_refused(api: EmulatorClient, query: dict[str, str]) -> None:
    endpoint = api.endpoint()

    refused = api.http.get(f"{api.p}/endpoints/{endpoint['id']}/events", params=query)

    assert refused.status_code == 400


def test_analytics_count_requests_tokens_and_latency(
    together: Together, api: EmulatorClient
) -> None:
    endpoint, deployment = api.serve()
    usages = [api.chat(endpoint["name"], f"Count {n}").json()["usage"] for n in range(3)]
    api.emulator.clock.advance(1)

    summary = together.endpoints.analytics(
        endpoint["id"], include_time_series=True, granularity="1h"
    )

    assert summary.metrics is not None
    metrics = summary.metrics
    assert metrics.request_metrics is not None
    assert metrics.request_metrics.requests_by_status_code == {"200": "3"}
    assert metrics.token_metrics is not None
    written = sum(usage["completion_tokens"] for usage in usages)
    assert metrics.token_metrics.total_output_tokens == str(written)
    assert metrics.latency_metrics is not None
    latency = metrics.latency_metrics
    assert 0 < (latency.ttft_p50_ms or 0) < (latency.latency_p50_ms or 0)
    assert [d.deployment_id for d in summary.deployment_analytics or []] == [deployment["id"]]
    assert len(summary.time_series or []) == 24
    assert (summary.time_series or [])[-1].values == {
        "requests": 3.0,
        "inputTokens": float(sum(usage["prompt_tokens"] for usage in usages)),
        "outputTokens": float(written),
    }


def test_analytics_count_refusals_and_keep_one_day(together: Together, api: EmulatorClient) -> None:
    endpoint, deployment = api.serve(maxConcurrentRequestsPerReplica="1")
    api.emulator.change(queue_per_replica=0)
    held = api.emulator._store.deployments[deployment["id"]].replicas[0]
    held.in_flight = 1
    refused = api.chat(endpoint["name"])
    held.in_flight = 0

    first = together.endpoints.analytics(endpoint["id"]).metrics
    api.emulator.clock.advance(25 * 3600)
    later = together.endpoints.analytics(endpoint["id"]).metrics

    assert code(refused) == (503, "overloaded")
    assert first is not None
    assert later is not None
    assert first.error_metrics is not None
    assert later.request_metrics is not None
    assert first.error_metrics.errors_by_type == {"503": "1"}
    assert later.request_metrics.total_requests == "0"


def test_shared_endpoints_are_listed_for_the_organization(
    together: Together, api: EmulatorClient
) -> None:
    api.endpoint("private")
    together.endpoints.create(name="shared", visibility="VISIBILITY_INTERNAL")
    organization = api.http.get("/v3/whoami").json()["organization"]["id"]

    shared = list(together.endpoints.list_org_scoped(organization))

    assert [endpoint.name for endpoint in shared] == ["emulated-project/shared"]
