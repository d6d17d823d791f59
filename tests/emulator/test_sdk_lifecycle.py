"""The unmodified SDK accepts every response of the emulator in strict mode."""

import asyncio
from typing import Any

import pytest
from together import APIStatusError, AsyncTogether, BadRequestError, ConflictError, Together

from tests.support.emulator_client import COLD_START_S, DRAIN_S, SMALL, EmulatorClient
from together_emulator import Emulator

SPLIT = "trafficSplit"


def test_sync_sdk_creates_uses_and_deletes_an_endpoint(
    together: Together, emulator: Emulator
) -> None:
    profile = together.models.list_supported(search=SMALL).data[0].deployment_profiles[0]
    deployments = together.endpoints.deployments
    endpoint = together.endpoints.create(name="batch")
    deployment = deployments.create(
        endpoint.id,
        name="main",
        model=profile.model,
        config=profile.config,
        autoscaling={"min_replicas": 1, "max_replicas": 1},
        placement={"inline": {"regions": ["us-east-1"], "constraint": "ENFORCEMENT_REQUIRED"}},
        inactive_timeout=30,
    )
    split = [{"deployment_id": deployment.id, "weight": 1.0}]
    together.endpoints.update(endpoint.id, traffic_split=split)  # type: ignore[arg-type]
    emulator.clock.advance(COLD_START_S)

    ready = deployments.retrieve(deployment.id, endpoint_id=endpoint.id)
    answer = together.chat.completions.create(
        model=endpoint.name, messages=[{"role": "user", "content": "Why is the sky blue?"}]
    )
    deployments.update(
        deployment.id,
        endpoint_id=endpoint.id,
        autoscaling={"min_replicas": 0, "max_replicas": 0},
    )
    emulator.clock.advance(DRAIN_S)
    stopped = deployments.retrieve(deployment.id, endpoint_id=endpoint.id)
    together.endpoints.update(
        endpoint.id, traffic_split=[{"deployment_id": deployment.id, "weight": 0}]
    )
    deployments.delete(deployment.id, endpoint_id=endpoint.id)
    together.endpoints.delete(endpoint.id)

    assert ready.status.state == "DEPLOYMENT_STATE_READY"
    assert ready.status.ready_replicas == 1
    assert answer.choices[0].message is not None
    assert answer.choices[0].message.content
    assert stopped.status.state == "DEPLOYMENT_STATE_STOPPED"
    assert together.endpoints.list().data == []
    assert emulator.billing == 0


def test_async_sdk_creates_uses_and_deletes_an_endpoint(emulator: Emulator) -> None:
    async def life() -> tuple[str, list[str]]:
        async with AsyncTogether(
            base_url=emulator.url,
            api_key=emulator.key,
            project_id=emulator.project_id,
            max_retries=0,
            _strict_response_validation=True,
        ) as client:
            found = await client.models.list_supported(search=SMALL)
            profile = found.data[0].deployment_profiles[0]
            endpoint = await client.endpoints.create(name="batch")
            deployment = await client.endpoints.deployments.create(
                endpoint.id,
                name="main",
                model=profile.model,
                config=profile.config,
                autoscaling={"min_replicas": 2, "max_replicas": 2},
            )
            await client.endpoints.update(
                endpoint.id, traffic_split=[{"deployment_id": deployment.id, "weight": 1}]
            )
            emulator.clock.advance(COLD_START_S)
            answers = await asyncio.gather(
                *(
                    client.chat.completions.create(
                        model=endpoint.name, messages=[{"role": "user", "content": f"Count to {n}"}]
                    )
                    for n in range(8)
                )
            )
            await client.endpoints.deployments.update(
                deployment.id,
                endpoint_id=endpoint.id,
                autoscaling={"min_replicas": 0, "max_replicas": 0},
            )
            emulator.clock.advance(DRAIN_S)
            await client.endpoints.update(endpoint.id, traffic_split=[], update_mask="trafficSplit")
            await client.endpoints.deployments.delete(deployment.id, endpoint_id=endpoint.id)
            await client.endpoints.delete(endpoint.id)
            texts = [str(answer.choices[0].message.content) for answer in answers]  # type: ignore[union-attr]
            return endpoint.name, texts

    name, texts = asyncio.run(life())

    assert name == "emulated-project/batch"
    assert len(set(texts)) == 8
    assert emulator.endpoints() == []


def test_sdk_reads_identity_and_hardware(together: Together) -> None:
    who = together.whoami()
    projects = together.projects.list().data
    hardware = together.endpoints.hardware.list().data
    models = list(together.models.list_supported(product="PRODUCT_DEDICATED", limit=2))
    one = together.models.retrieve_supported(models[0].id)
    config = together.models.configs.list(reference_model=one.base_model).data[0]
    same = together.models.configs.retrieve(config.id)

    assert who.type == "project_api_key"
    assert [project.id for project in projects] == [who.project.id]
    selectors = {selector.key: selector.value for selector in same.selectors}
    named = f"{selectors['accelerator_count']}x{selectors['accelerator_type']}"
    assert named in {kind.name for kind in hardware}
    assert len({model.name for model in models}) == 9
    assert one.name == models[0].name


def test_price_is_linear_in_gpu_count(together: Together) -> None:
    kinds = together.endpoints.hardware.list().data

    per_gpu = {(kind.gpu_type, kind.price_cents_per_hour / kind.gpu_count) for kind in kinds}

    assert per_gpu == {("H100", 549.0), ("H200", 665.0), ("B200", 899.0)}


def test_sdk_pages_through_all_endpoints_and_deployments(
    together: Together, api: EmulatorClient
) -> None:
    first = api.endpoint("e-0")
    for n in range(1, 7):
        api.endpoint(f"e-{n}")
        api.deploy(first, name=f"d-{n}", replicas=(0, 0))

    endpoints = [endpoint.name for endpoint in together.endpoints.list(limit=2)]
    deployments = [d.name for d in together.endpoints.deployments.list(first["id"], limit=4)]

    assert sorted(endpoints) == [f"emulated-project/e-{n}" for n in range(7)]
    assert sorted(deployments) == [f"emulated-project/e-0/d-{n}" for n in range(1, 7)]


def test_deployment_can_be_validated_without_creation(
    together: Together, api: EmulatorClient
) -> None:
    endpoint, profile = api.endpoint(), api.profile()

    seen = together.endpoints.deployments.create(
        endpoint["id"],
        validate_only=True,
        name="main",
        model=profile["model"],
        config=profile["config"],
        autoscaling={"min_replicas": 1},
    )

    assert seen.hardware == "1xnvidia-h100-80gb"
    assert together.endpoints.deployments.list(endpoint["id"]).data == []


@pytest.mark.parametrize("kind", ["rollouts", "abExperiments", "shadowExperiments"])
def test_undocumented_list_is_empty(api: EmulatorClient, kind: str) -> None:
    endpoint = api.endpoint()

    answer = api.http.get(f"{api.p}/endpoints/{endpoint['id']}/{kind}").json()

    assert answer == {"object": "list", "data": [], "next_cursor": None}


def test_errors_reach_the_caller_as_sdk_exceptions(together: Together) -> None:
    together.endpoints.create(name="batch")

    with pytest.raises(ConflictError) as taken:
        together.endpoints.create(name="batch")
    with pytest.raises(BadRequestError) as bad:
        together.endpoints.list(filter="name ==")
    with pytest.raises(APIStatusError) as gone:
        together.endpoints.retrieve("ep_none")

    body: Any = taken.value.body
    assert body["error"]["code"] == "already_exists"
    assert "invalid filter expression" in bad.value.message
    assert gone.value.status_code == 404


def test_errors_may_have_the_grpc_shape(together: Together, emulator: Emulator) -> None:
    emulator.change(errors="rpc")
    together.endpoints.create(name="batch")

    with pytest.raises(ConflictError) as taken:
        together.endpoints.create(name="batch")

    assert taken.value.body == {
        "code": 10,
        "message": "an endpoint named 'batch' already exists",
        "details": [{"detail": "already_exists"}],
    }
