"""The official SDK 3.1 against an emulator in another process, with strict response validation."""

import asyncio
from typing import Any

from together import AsyncTogether, Together

from tests.support.together_clients import EMBEDDING, MODEL, V1_HARDWARE, EmulatorProcess, wait_for

ASKED: Any = [{"role": "user", "content": "Why is the sky blue?"}]
SCHEMA: Any = {
    "type": "json_schema",
    "json_schema": {
        "name": "colour",
        "schema": {"type": "object", "properties": {"colour": {"type": "string"}}},
    },
}


def options(server: EmulatorProcess) -> Any:
    """Return the arguments of either client."""
    return {
        "base_url": server.url,
        "api_key": "local",
        "project_id": server.project,
        "max_retries": 0,
        "_strict_response_validation": True,
    }


def test_sync_sdk_3_completes_a_v2_lifecycle(server: EmulatorProcess) -> None:
    with Together(**options(server)) as client:
        assert client.whoami().type == "project_api_key"
        prices = {k.name: k.price_cents_per_hour for k in client.endpoints.hardware.list().data}
        model = client.models.list_supported(search=MODEL).data[0]
        profile = model.deployment_profiles[0]
        config = client.models.configs.retrieve(profile.certified_config_revision_id)
        kind = {selector.key: selector.value for selector in config.selectors}
        hardware = f"{kind['accelerator_count']}x{kind['accelerator_type']}"
        endpoint = client.endpoints.create(name="sdk-sync")
        wanted: Any = {
            "name": "main",
            "model": profile.model,
            "config": profile.config,
            "autoscaling": {"min_replicas": 1, "max_replicas": 1},
        }
        tried = client.endpoints.deployments.create(endpoint.id, validate_only=True, **wanted)
        deployment = client.endpoints.deployments.create(endpoint.id, **wanted)
        client.endpoints.update(
            endpoint.id, traffic_split=[{"deployment_id": deployment.id, "weight": 1}]
        )

        def state() -> str:
            seen = client.endpoints.deployments.retrieve(deployment.id, endpoint_id=endpoint.id)
            return str(seen.status.state)

        wait_for(state, lambda seen: seen == "DEPLOYMENT_STATE_READY")
        whole = client.chat.completions.create(
            model=endpoint.name, messages=ASKED, response_format=SCHEMA, logprobs=1, n=2
        )
        pieces = list(
            client.chat.completions.create(model=endpoint.name, messages=ASKED, stream=True)
        )
        text = client.completions.create(model=endpoint.name, prompt="Once", max_tokens=5)
        found = client.endpoints.list(filter='name = "sdk-sync"').data
        events = list(client.endpoints.list_events(endpoint.id, limit=3))
        analytics_found = client.endpoints.analytics(endpoint.id, include_time_series=True)
        client.endpoints.deployments.update(
            deployment.id,
            endpoint_id=endpoint.id,
            autoscaling={"min_replicas": 2, "max_replicas": 2},
        )
        client.endpoints.deployments.update(
            deployment.id,
            endpoint_id=endpoint.id,
            autoscaling={"min_replicas": 0, "max_replicas": 0},
        )
        client.endpoints.update(endpoint.id, traffic_split=[], update_mask="trafficSplit")
        wait_for(state, lambda seen: seen == "DEPLOYMENT_STATE_STOPPED")
        client.endpoints.deployments.delete(deployment.id, endpoint_id=endpoint.id)
        client.endpoints.delete(endpoint.id)

        assert tried.hardware == deployment.hardware == hardware
        assert prices[hardware] == 549
        assert len(whole.choices) == 2
        assert pieces[-1].choices[0].finish_reason == "stop"
        assert text.usage is not None
        assert text.usage.completion_tokens == 5
        assert [entry.id for entry in found] == [endpoint.id]
        assert len(events) > 3
        assert analytics_found.metrics is not None
        assert analytics_found.metrics.request_metrics is not None
        assert analytics_found.metrics.request_metrics.total_requests == "3"
        assert endpoint.id not in {entry.id for entry in client.endpoints.list()}


def test_async_sdk_3_completes_a_v2_lifecycle(server: EmulatorProcess) -> None:
    async def life() -> list[int]:
        async with AsyncTogether(**options(server)) as client:
            model = (await client.models.list_supported(search=EMBEDDING)).data[0]
            profile = model.deployment_profiles[0]
            endpoint = await client.endpoints.create(name="sdk-async")
            deployment = await client.endpoints.deployments.create(
                endpoint.id,
                name="main",
                model=profile.model,
                config=profile.config,
                autoscaling={"min_replicas": 1, "max_replicas": 1},
            )
            await client.endpoints.update(
                endpoint.id, traffic_split=[{"deployment_id": deployment.id, "weight": 1}]
            )

            async def wait(wanted: str) -> None:
                for _ in range(1200):
                    seen = await client.endpoints.deployments.retrieve(
                        deployment.id, endpoint_id=endpoint.id
                    )
                    if seen.status.state == f"DEPLOYMENT_STATE_{wanted}":
                        return
                    await asyncio.sleep(0.05)
                raise TimeoutError(wanted)

            await wait("READY")
            server_answers = await asyncio.gather(
                *(
                    client.embeddings.create(model=endpoint.name, input=[f"{n}", "x"])
                    for n in range(4)
                )
            )
            await client.endpoints.deployments.update(
                deployment.id,
                endpoint_id=endpoint.id,
                autoscaling={"min_replicas": 0, "max_replicas": 0},
            )
            await client.endpoints.update(endpoint.id, traffic_split=[], update_mask="trafficSplit")
            await wait("STOPPED")
            await client.endpoints.deployments.delete(deployment.id, endpoint_id=endpoint.id)
            await client.endpoints.delete(endpoint.id)
            return [len(entry.embedding) for answer in server_answers for entry in answer.data]

    assert asyncio.run(life()) == [1024] * 8
    assert "emulated-project/sdk-async" not in server.endpoint_names()


def test_sdk_3_completes_a_v1_lifecycle_by_raw_calls(server: EmulatorProcess) -> None:
    def call(method: str, path: str, **more: Any) -> Any:
        return getattr(client, method)(path, cast_to=object, **more)

    with Together(**options(server)) as client:
        hardware = call("get", "/v1/hardware", options={"params": {"model": MODEL}})
        zones = call("get", "/v1/clusters/availability-zones")
        endpoint = call(
            "post",
            "/v1/endpoints",
            body={
                "model": MODEL,
                "hardware": V1_HARDWARE,
                "display_name": "raw",
                "autoscaling": {"min_replicas": 1, "max_replicas": 2},
                "disable_speculative_decoding": True,
                "inactive_timeout": None,
                "availability_zone": zones["avzones"][0],
            },
        )
        path = f"/v1/endpoints/{endpoint['id']}"
        wait_for(lambda: call("get", path)["state"], lambda state: state == "STARTED")
        answer = client.chat.completions.create(model=endpoint["name"], messages=ASKED)
        call("patch", path, body={"state": "STOPPED"})
        wait_for(lambda: call("get", path)["state"], lambda state: state == "STOPPED")
        client.delete(path, cast_to=type(None))
        left = call("get", "/v1/endpoints", options={"params": {"mine": True}})["data"]

    assert V1_HARDWARE in {kind["id"] for kind in hardware["data"]}
    assert answer.choices
    assert endpoint["id"] not in {entry["id"] for entry in left}
