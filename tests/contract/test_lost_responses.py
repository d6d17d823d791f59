"""A create whose response was lost ends in one endpoint, which is found and used."""

import json
from typing import Any, Literal

import httpx
import pytest

from mayfly.models.endpoint import Api, EndpointRef, Phase
from mayfly.models.errors import OutcomeUnknown, RetryableError
from tests.support.control_plane import NAME, EmulatedService, emulated_service, repeated
from tests.support.habit_server import Exchange, Habit, HabitServer
from together_emulator import Emulator, FaultRule
from together_emulator.state.faults import Action

AFTER: tuple[Action, ...] = ("reset_after", "truncate", "malformed", "not_json")
Call = Literal["the endpoint", "the deployment", "the route"]
PATHS: dict[Call, tuple[str, str]] = {
    "the endpoint": ("POST", "/endpoints$"),
    "the deployment": ("POST", "/deployments$"),
    "the route": ("PATCH", "/endpoints/ep_[^/]+$"),
}

CALLS: list[tuple[Api, Call]] = [*(("v2", call) for call in PATHS), ("v1", "the endpoint")]


def writes(emulator: Emulator) -> list[str]:
    """Return the successful creates, by what they made."""
    return [
        entry.path.rsplit("/", 1)[-1]
        for entry in emulator.calls()
        if entry.method == "POST" and entry.effect == 200
    ]


def one_stands_and_serves(service: EmulatedService, ref: EndpointRef) -> bool:
    """Whether the reference is of the one endpoint there is, and it comes to serve."""
    return (
        service.made() == 1
        and service.await_ready(ref).phase is Phase.READY
        and service.emulator.billing == 1
    )


@pytest.mark.parametrize("action", AFTER)
@pytest.mark.parametrize(("api", "call"), CALLS)
def test_create_with_lost_response_makes_one_endpoint(
    emulator: Emulator, api: Api, call: Call, action: Action
) -> None:
    with emulated_service(api, emulator) as service:
        spec = service.spec()
        method, path = PATHS[call]
        emulator.use_faults(FaultRule(action=action, method=method, path=path, nth=(1,)))

        with pytest.raises(OutcomeUnknown):
            service.plane.create(spec)
        ref = repeated(lambda: service.plane.create(spec))

        assert one_stands_and_serves(service, ref)
        assert sorted(set(writes(emulator))) == sorted(writes(emulator))
        service.tear_down(ref)
        assert service.made() == 0


def test_create_that_hangs_after_its_effect_makes_one_endpoint(
    api: Api, emulator: Emulator
) -> None:
    with emulated_service(api, emulator, timeout_s=2.0) as service:
        spec = service.spec()
        emulator.use_faults(
            FaultRule(action="hang_after", method="POST", path="/endpoints$", nth=(1,))
        )

        with pytest.raises(OutcomeUnknown, match="no response in time; check before retrying"):
            service.plane.create(spec)
        ref = repeated(lambda: service.plane.create(spec))

        assert one_stands_and_serves(service, ref)


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 524, 529])
def test_create_with_transient_status_is_repeated(service: EmulatedService, status: int) -> None:
    spec = service.spec()
    service.emulator.use_faults(
        FaultRule(
            action="status", method="POST", path="/endpoints$", status=status, nth=(1,),
            headers={"retry-after": "7"},
        )
    )  # fmt: skip

    with pytest.raises(RetryableError) as later:
        service.plane.create(spec)
    ref = service.plane.create(spec)

    assert (later.value.status, later.value.retry_after_s) == (status, 7.0)
    assert service.made() == 1
    assert ref.endpoint_id


@pytest.mark.parametrize("status", [500, 502, 504])
def test_create_with_error_after_its_effect_makes_one_endpoint(
    api: Api, emulator: Emulator, status: int
) -> None:
    def fail(exchange: Exchange) -> None:
        if exchange.method == "POST" and exchange.nth == 1:
            exchange.status, exchange.answer = status, {"error": {"message": "try again"}}

    with (
        HabitServer(emulator.url, Habit("fails late", after=fail)) as other,
        emulated_service(api, emulator, url=other.url) as service,
    ):
        spec = service.spec()
        ref = repeated(lambda: service.plane.create(spec))

        assert one_stands_and_serves(service, ref)


def test_create_conflict_adopts_our_own_late_listed_endpoint(emulator: Emulator) -> None:
    lagging: list[str] = []

    def lag(exchange: Exchange) -> None:
        if exchange.is_list and exchange.path.endswith(("/endpoints", "/deployments")):
            kind = exchange.path.rsplit("/", 1)[-1]
            if lagging.count(kind) < 2:
                lagging.append(kind)
                exchange.answer["data"] = []

    with emulated_service("v2", emulator) as earlier:
        made = earlier.plane.create(earlier.spec())
    with (
        HabitServer(emulator.url, Habit("lists late", after=lag)) as other,
        emulated_service("v2", emulator, url=other.url) as service,
    ):
        ref = repeated(lambda: service.plane.create(service.spec()))

        assert ref.endpoint_id == made.endpoint_id
        assert ref.deployment_ids == made.deployment_ids
        assert len(emulator.states()) == 1


def twin(emulator: Emulator, display_name: str = NAME) -> dict[str, Any]:
    """Make a v1 endpoint as an earlier create does whose effect came late."""
    answer = httpx.post(
        f"{emulator.url}/v1/endpoints",
        headers={"authorization": f"Bearer {emulator.key}"},
        json={
            "model": "Qwen/Qwen2.5-7B-Instruct",
            "hardware": "1x_nvidia_h100_80gb_sxm",
            "display_name": display_name,
            "autoscaling": {"min_replicas": 1, "max_replicas": 1},
        },
        timeout=20,
    )
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = json.loads(answer.content)
    return made


@pytest.fixture
def old(emulator: Emulator) -> Any:
    """The v1 control plane."""
    with emulated_service("v1", emulator) as found:
        yield found


def test_twins_are_reduced_to_one(old: EmulatedService) -> None:
    twin(old.emulator)
    twin(old.emulator)

    ref = old.plane.create(old.spec())

    assert one_stands_and_serves(old, ref)


def test_twin_that_is_further_started_is_kept(old: EmulatedService) -> None:
    first = twin(old.emulator)
    old.emulator.clock.advance(400)
    twin(old.emulator)

    ref = old.plane.create(old.spec())

    assert ref.endpoint_id == first["id"]
    assert old.emulator.billing == 1


def test_twin_that_appears_during_the_wait_is_deleted(old: EmulatedService) -> None:
    ref = old.plane.create(old.spec())
    twin(old.emulator)

    seen = old.await_ready(ref)

    assert seen.phase is Phase.READY
    assert one_stands_and_serves(old, ref)


def test_twin_is_deleted_at_teardown(old: EmulatedService) -> None:
    twin(old.emulator)
    twin(old.emulator)

    old.tear_down(EndpointRef(api="v1", name=NAME))

    assert (old.made(), old.emulator.billing) == (0, 0)


def test_twin_of_vanished_endpoint_is_deleted_at_teardown(old: EmulatedService) -> None:
    ref = old.plane.create(old.spec())
    old.emulator.vanish()
    twin(old.emulator)

    old.tear_down(ref)

    assert old.made() == 0


def test_user_endpoints_of_one_name_are_no_twins(old: EmulatedService) -> None:
    first = twin(old.emulator, "chat")
    twin(old.emulator, "chat")
    ref = old.plane.find(first["id"])
    assert ref is not None

    old.plane.observe(ref)
    old.plane.delete(ref)

    assert old.made() == 1
