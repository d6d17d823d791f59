"""The lifecycle of an endpoint by either generation of the API."""

import httpx
import pytest

from mayfly.models.endpoint import EndpointRef, Phase, Replicas
from mayfly.models.errors import TerminalError
from tests.support.control_plane import COLD_START_S, DRAIN_S, NAME, OTHER_NAME, EmulatedService
from together_emulator import FaultRule


def chat_status(service: EmulatedService, ref: EndpointRef) -> int:
    """Send one request by the endpoint's name; return the status."""
    answer = httpx.post(
        f"{service.plane.inference_url}/chat/completions",
        headers={"authorization": f"Bearer {service.emulator.key}"},
        json={"model": ref.inference_name, "messages": [{"role": "user", "content": "Why?"}]},
        timeout=20,
    )
    return answer.status_code


def test_endpoint_is_created_answers_and_is_deleted(service: EmulatedService) -> None:
    ref = service.plane.create(service.spec())
    before = service.plane.observe(ref)
    ready = service.await_ready(ref)
    status = chat_status(service, ref)
    proof = service.tear_down(ref)

    assert before.phase is Phase.STARTING
    assert (ready.phase, ready.routed) == (Phase.READY, True)
    assert status == 200
    assert proof.not_found_read_back
    assert service.plane.observe(ref).phase is Phase.GONE
    assert (service.made(), service.emulator.billing) == (0, 0)


def test_endpoint_has_our_name_hardware_and_price(service: EmulatedService) -> None:
    spec = service.spec()

    ref = service.plane.create(spec)

    assert ref.name == NAME
    assert ref.endpoint_id
    assert ref.inference_name != ref.endpoint_id
    assert (ref.hardware, ref.price_usd_per_h) == (spec.hardware, spec.price_usd_per_h)
    assert ref.created_by_us


def test_reference_is_enough_for_another_process_to_delete(service: EmulatedService) -> None:
    ref = service.serve()

    service.tear_down(EndpointRef.from_dict(ref.as_dict()))

    assert service.made() == 0


def test_name_is_enough_to_delete_after_a_lost_create(service: EmulatedService) -> None:
    service.plane.create(service.spec())

    service.tear_down(EndpointRef(api=service.api, name=NAME))

    assert service.made() == 0


def test_create_is_idempotent(service: EmulatedService) -> None:
    first = service.plane.create(service.spec())
    second = service.plane.create(service.spec())

    assert first == second
    assert service.made() == 1


def test_create_of_two_names_makes_two_endpoints(service: EmulatedService) -> None:
    first = service.plane.create(service.spec())
    second = service.plane.create(service.spec(OTHER_NAME))

    assert first.endpoint_id != second.endpoint_id
    assert service.made() == 2


def test_create_starts_the_requested_replicas(service: EmulatedService) -> None:
    service.serve(service.spec(replicas=Replicas(minimum=3, maximum=3)))

    assert service.emulator.billing == 3


def test_scale_changes_replicas_of_running_endpoint(service: EmulatedService) -> None:
    ref = service.serve()

    service.plane.scale(ref, Replicas(minimum=2, maximum=2))
    service.emulator.clock.advance(COLD_START_S)

    assert service.emulator.billing == 2
    assert service.plane.observe(ref).phase is Phase.READY


def test_scale_to_zero_stops(service: EmulatedService) -> None:
    ref = service.serve()

    service.plane.scale(ref, Replicas(minimum=0, maximum=0))
    service.emulator.clock.advance(DRAIN_S)

    assert service.plane.observe(ref).phase is Phase.STOPPED
    assert service.emulator.billing == 0


def test_stopped_endpoint_bills_nothing_and_starts_again(service: EmulatedService) -> None:
    ref = service.serve()
    service.plane.stop(ref)
    stopping = service.plane.observe(ref)
    service.emulator.clock.advance(DRAIN_S)
    stopped, bills = service.plane.observe(ref), service.emulator.billing

    service.plane.scale(ref, Replicas(minimum=1, maximum=1))
    again = service.await_ready(ref)

    assert stopping.phase is Phase.STOPPING
    assert (stopped.phase, bills) == (Phase.STOPPED, 0)
    assert again.phase is Phase.READY
    assert chat_status(service, ref) == 200


def test_stop_is_idempotent(service: EmulatedService) -> None:
    ref = service.serve()

    service.plane.stop(ref)
    service.plane.stop(ref)
    service.emulator.clock.advance(DRAIN_S)
    service.plane.stop(ref)

    assert service.plane.observe(ref).phase is Phase.STOPPED


def test_delete_is_idempotent(service: EmulatedService) -> None:
    ref = service.serve()
    service.plane.stop(ref)
    service.emulator.clock.advance(DRAIN_S)

    service.plane.delete(ref)
    service.plane.delete(ref)

    assert service.made() == 0


@pytest.mark.parametrize("by_id", [True, False])
def test_stop_and_delete_of_deleted_endpoint_succeed(service: EmulatedService, by_id: bool) -> None:
    ref = service.serve()
    service.emulator.vanish()
    if not by_id:
        ref = EndpointRef(api=service.api, name=NAME)

    service.plane.stop(ref)
    service.plane.delete(ref)

    assert service.plane.observe(ref).phase is Phase.GONE


def test_scale_of_deleted_endpoint_is_an_error(service: EmulatedService) -> None:
    with pytest.raises(TerminalError, match=f"endpoint {NAME} does not exist"):
        service.plane.scale(EndpointRef(api=service.api, name=NAME), Replicas())


def test_starting_endpoint_can_be_deleted(service: EmulatedService) -> None:
    ref = service.plane.create(service.spec())
    service.emulator.clock.advance(30)

    service.tear_down(ref)

    assert (service.made(), service.emulator.billing) == (0, 0)
    assert service.emulator.ledger().usd == 0


def test_failed_endpoint_is_deleted_without_a_stop(service: EmulatedService) -> None:
    post = "/deployments$" if service.api == "v2" else "/v1/endpoints$"
    service.emulator.use_faults(FaultRule(action="fail_start", method="POST", path=post))
    ref = service.serve()
    failed = service.plane.observe(ref)

    service.tear_down(ref)

    assert failed.phase is Phase.FAILED
    assert service.made() == 0


def test_failed_endpoint_is_replaced_and_not_adopted(service: EmulatedService) -> None:
    post = "/deployments$" if service.api == "v2" else "/v1/endpoints$"
    service.emulator.use_faults(FaultRule(action="fail_start", method="POST", path=post, nth=(1,)))
    service.serve()

    again = service.plane.create(service.spec())

    assert service.await_ready(again).phase is Phase.READY
    service.tear_down(again)
    assert service.made() == 0


def test_list_holds_names_with_the_prefix_only(service: EmulatedService) -> None:
    ours = service.plane.create(service.spec())
    service.plane.create(service.spec(OTHER_NAME))
    service.plane.create(service.spec("a-users-own"))

    names = {ref.name for ref in service.plane.list_endpoints("mayfly-contract-0123456789-")}
    ours_all = {ref.name for ref in service.plane.list_endpoints("mayfly-")}

    assert names == {NAME}
    assert ours_all == {NAME, OTHER_NAME}
    assert len(service.plane.list_endpoints("")) == 3
    assert service.plane.list_endpoints("mayfly-")[0].api == service.api
    assert service.plane.list_endpoints(NAME)[0].endpoint_id == ours.endpoint_id


def test_endpoint_is_found_by_each_of_its_names(service: EmulatedService) -> None:
    ref = service.plane.create(service.spec())

    found = [service.plane.find(name) for name in (NAME, ref.inference_name, ref.endpoint_id)]

    assert [each and each.endpoint_id for each in found] == [ref.endpoint_id] * 3
    assert service.plane.find("mayfly-contract-0000000000-00000000") is None
    assert service.plane.find("ep_nowhere") is None
    assert service.plane.find("endpoint-nowhere") is None


def test_found_endpoint_is_not_marked_as_created_by_us(service: EmulatedService) -> None:
    service.plane.create(service.spec())

    found = service.plane.find(NAME)

    assert found is not None
    assert not found.created_by_us
