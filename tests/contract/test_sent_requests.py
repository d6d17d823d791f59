"""Requests to the API: each option in the fields of either generation."""

import json
from typing import Any

import pytest

from mayfly.models.endpoint import Phase, Replicas
from tests.support.control_plane import (
    COLD_START_S,
    LARGE,
    MEDIUM,
    NAME,
    SMALL,
    EmulatedService,
    emulated_service,
)
from tests.support.habit_server import Exchange, Habit, HabitServer
from together_emulator import Emulator


def sent(emulator: Emulator, method: str, path: str) -> list[dict[str, Any]]:
    """Return the bodies of the requests whose path ends so."""
    return [
        json.loads(entry.body)
        for entry in emulator.calls()
        if entry.method == method and entry.path.endswith(path) and entry.body
    ]


def created(service: EmulatedService) -> dict[str, Any]:
    """Return the request body with hardware and replicas."""
    path = "/deployments" if service.api == "v2" else "/v1/endpoints"
    return sent(service.emulator, "POST", path)[-1]


def test_idle_timeout_is_always_sent(service: EmulatedService) -> None:
    service.plane.create(service.spec())
    first = created(service)
    service.plane.create(
        service.spec("mayfly-contract-0000000001-00000000", inactive_timeout_min=90)
    )

    key = "inactiveTimeout" if service.api == "v2" else "inactive_timeout"
    assert first[key] == 30
    assert created(service)[key] == 90


def test_abandoned_endpoint_is_stopped_by_the_platform(service: EmulatedService) -> None:
    ref = service.serve()

    service.emulator.clock.advance(31 * 60 + COLD_START_S)

    assert service.plane.observe(ref).phase is Phase.STOPPED
    assert service.emulator.billing == 0


def test_idle_timeout_that_the_platform_refuses_is_omitted(emulator: Emulator) -> None:
    def withdrawn(exchange: Exchange) -> None:
        if isinstance(exchange.body, dict) and "inactiveTimeout" in exchange.body:
            exchange.body["unknownInactiveTimeout"] = 1

    with (
        HabitServer(emulator.url, Habit("withdrawn", before=withdrawn)) as other,
        emulated_service("v2", emulator, url=other.url) as service,
    ):
        ref = service.serve()

        assert service.plane.observe(ref).phase is Phase.READY
        assert "inactiveTimeout" not in created(service)


@pytest.mark.parametrize(("low", "high"), [(1, 1), (2, 2), (1, 3)])
def test_replica_bounds_are_sent_as_given(service: EmulatedService, low: int, high: int) -> None:
    service.plane.create(service.spec(replicas=Replicas(minimum=low, maximum=high)))

    keys = (
        ("minReplicas", "maxReplicas") if service.api == "v2" else ("min_replicas", "max_replicas")
    )
    assert tuple(created(service)["autoscaling"][key] for key in keys) == (low, high)


def test_v2_create_sends_allowed_regions_as_required(emulator: Emulator) -> None:
    with emulated_service("v2", emulator) as service:
        service.plane.create(service.spec(regions=("us-east-1", "eu-west-1")))

        assert created(service)["placement"] == {
            "inline": {
                "regions": ["us-east-1", "eu-west-1"],
                "constraint": "ENFORCEMENT_REQUIRED",
            }
        }


def test_v1_create_sends_one_zone(emulator: Emulator) -> None:
    with emulated_service("v1", emulator) as service:
        service.plane.create(service.spec(regions=("us-east-1", "eu-west-1")))

        assert created(service)["availability_zone"] == "us-east-1"


def test_create_without_region_sends_none(service: EmulatedService) -> None:
    service.plane.create(service.spec())

    assert not {"placement", "availability_zone"} & created(service).keys()


@pytest.mark.parametrize("wanted", [True, False])
def test_v1_create_enables_speculative_decoding_by_default(
    emulator: Emulator, wanted: bool
) -> None:
    with emulated_service("v1", emulator) as service:
        service.plane.create(service.spec(speculative_decoding=wanted))

        assert created(service)["disable_speculative_decoding"] is not wanted


def test_v1_create_sends_display_name_and_no_null(emulator: Emulator) -> None:
    with emulated_service("v1", emulator) as service:
        service.plane.create(service.spec())

        body = created(service)
        assert body["display_name"] == NAME
        assert (body["model"], body["hardware"]) == (SMALL, "1x_nvidia_h100_80gb_sxm")
        assert None not in body.values()


def test_v2_create_sets_the_traffic_weight(emulator: Emulator) -> None:
    with emulated_service("v2", emulator) as service:
        ref = service.plane.create(service.spec())
        routed = service.plane.observe(ref).routed
        splits = [body["trafficSplit"] for body in sent(emulator, "PATCH", ref.endpoint_id)]

        assert routed
        assert splits == [[{"deploymentId": ref.deployment_ids[0], "weight": 1.0}]]


def test_ready_endpoint_without_route_gets_one(
    emulator: Emulator,
) -> None:
    with emulated_service("v2", emulator) as service:
        ref = service.serve()
        service.plane._split(ref.endpoint_id, {ref.deployment_ids[0]: 0.0})  # type: ignore[attr-defined]
        lost = service.plane.observe(ref)

        service.plane.scale(ref, Replicas())

        assert (lost.phase, lost.routed) == (Phase.READY, False)
        assert service.await_ready(ref).routed


def test_scale_keeps_other_routes(emulator: Emulator) -> None:
    with emulated_service("v2", emulator) as service:
        ref = service.serve()
        client = service.plane._client  # type: ignore[attr-defined]
        offer = service.offer()
        second = client.endpoints.deployments.create(
            ref.endpoint_id, project_id=service.plane.project, name="second",
            model=offer.model_ref, config=offer.config_ref,
            autoscaling={"min_replicas": 1, "max_replicas": 1},
        )  # fmt: skip
        service.plane._split(  # type: ignore[attr-defined]
            ref.endpoint_id, {ref.deployment_ids[0]: 3.0, second.id: 1.0}
        )

        service.plane.scale(ref, Replicas(minimum=2, maximum=2))

        endpoint = client.endpoints.retrieve(ref.endpoint_id, project_id=service.plane.project)
        weights = {entry.deployment_id: entry.weight for entry in endpoint.traffic_split}
        assert weights == {ref.deployment_ids[0]: 3.0, second.id: 1.0}
        service.tear_down(ref)
        assert service.made() == 0


@pytest.mark.parametrize(("low", "high"), [(1, 1), (2, 2)])
def test_ready_replicas_are_counted_for_the_bill(
    service: EmulatedService, low: int, high: int
) -> None:
    ref = service.serve(service.spec(replicas=Replicas(minimum=low, maximum=high)))

    assert service.plane.observe(ref).ready_replicas == high


# Offers.


@pytest.mark.parametrize(("model", "kinds"), [(SMALL, {1}), (MEDIUM, {1, 2}), (LARGE, {2, 4, 8})])
def test_offers_are_the_hardware_of_the_model(
    service: EmulatedService, model: str, kinds: set[int]
) -> None:
    offers = service.plane.offers(model)

    assert {offer.gpu_count for offer in offers} == kinds
    assert all(offer.hardware.startswith(f"{offer.gpu_count}x") for offer in offers)
    assert all(offer.gpu_memory_gib >= 80 for offer in offers)


def test_price_is_dollars_per_replica_hour(service: EmulatedService) -> None:
    prices = {offer.hardware: offer.price_usd_per_h for offer in service.plane.all_hardware()}

    expected = {
        "v2": {"1xnvidia-h100-80gb": 5.49, "8xnvidia-b200-180gb": 71.92},
        "v1": {"1x_nvidia_h100_80gb_sxm": 5.40, "8x_nvidia_b200_180gb_sxm": 72.0},
    }
    for hardware, usd in expected[service.api].items():
        assert prices[hardware] == pytest.approx(usd)


def test_hardware_without_capacity_is_not_chosen(service: EmulatedService) -> None:
    service.emulator.set_free("1xnvidia-h100-80gb", 0)

    offer = service.offer()

    assert not offer.has_capacity((), 1)
    assert service.offer(hardware="1xnvidia-h200-141gb").has_capacity((), 1)


def test_v1_availability_status_is_read(emulator: Emulator) -> None:
    with emulated_service("v1", emulator) as service:
        free = service.offer().availability
        emulator.set_free("1xnvidia-h100-80gb", 0)

        assert (free, service.offer().availability) == ("available", "insufficient")
        assert {offer.availability for offer in service.plane.all_hardware()} == {""}


def test_v1_zones_are_the_regions(emulator: Emulator) -> None:
    with emulated_service("v1", emulator) as service:
        offer = service.offer()

        assert offer.regions_with_capacity(("eu-west-1",), 1) == ("eu-west-1",)
        assert {region.name for region in offer.regions} == {
            "eu-west-1", "us-central-1", "us-east-1",
        }  # fmt: skip


def test_undeployable_model_has_no_offers(service: EmulatedService) -> None:
    assert service.plane.offers("deepseek-ai/DeepSeek-V3.1") == []
