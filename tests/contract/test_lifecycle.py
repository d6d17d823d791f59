"""The lifecycle of an endpoint by either generation of the API."""

import httpx
import pytest

from mayfly.models.endpoint import EndpointRef, Phase, Replicas
from mayfly.models.errors import TerminalError
from tests.support.control_plane import COLD_START_S, DRAIN_S, NAME, OTHER_NAME, World
from together_emulator import FaultRule


def chat_status(here: World, ref: EndpointRef) -> int:
    """Send one request by the endpoint's name; return the status."""
    answer = httpx.post(
        f"{here.plane.inference_url}/chat/completions",
        headers={"authorization": f"Bearer {here.emulator.key}"},
        json={"model": ref.inference_name, "messages": [{"role": "user", "content": "Why?"}]},
        timeout=20,
    )
    return answer.status_code


def test_endpoint_is_created_answers_and_is_deleted(here: World) -> None:
    ref = here.plane.create(here.spec())
    before = here.plane.observe(ref)
    ready = here.await_ready(ref)
    status = chat_status(here, ref)
    proof = here.tear_down(ref)

    assert before.phase is Phase.STARTING
    assert (ready.phase, ready.routed) == (Phase.READY, True)
    assert status == 200
    assert proof.not_found_read_back
    assert here.plane.observe(ref).phase is Phase.GONE
    assert (here.made(), here.emulator.billing) == (0, 0)


def test_endpoint_has_our_name_hardware_and_price(here: World) -> None:
    spec = here.spec()

    ref = here.plane.create(spec)

    assert ref.name == NAME
    assert ref.endpoint_id
    assert ref.inference_name != ref.endpoint_id
    assert (ref.hardware, ref.price_usd_per_h) == (spec.hardware, spec.price_usd_per_h)
    assert ref.created_by_us


def test_reference_is_enough_for_another_process_to_delete(here: World) -> None:
    ref = here.serve()

    here.tear_down(EndpointRef.from_dict(ref.as_dict()))

    assert here.made() == 0


def test_name_is_enough_to_delete_after_a_lost_create(here: World) -> None:
    here.plane.create(here.spec())

    here.tear_down(EndpointRef(api=here.api, name=NAME))

    assert here.made() == 0


def test_create_is_idempotent(here: World) -> None:
    first = here.plane.create(here.spec())
    second = here.plane.create(here.spec())

    assert first == second
    assert here.made() == 1


def test_create_of_two_names_makes_two_endpoints(here: World) -> None:
    first = here.plane.create(here.spec())
    second = here.plane.create(here.spec(OTHER_NAME))

    assert first.endpoint_id != second.endpoint_id
    assert here.made() == 2


def test_create_starts_the_requested_replicas(here: World) -> None:
    here.serve(here.spec(replicas=Replicas(minimum=3, maximum=3)))

    assert here.emulator.billing == 3


def test_scale_changes_replicas_of_running_endpoint(here: World) -> None:
    ref = here.serve()

    here.plane.scale(ref, Replicas(minimum=2, maximum=2))
    here.emulator.clock.advance(COLD_START_S)

    assert here.emulator.billing == 2
    assert here.plane.observe(ref).phase is Phase.READY


def test_scale_to_zero_stops(here: World) -> None:
    ref = here.serve()

    here.plane.scale(ref, Replicas(minimum=0, maximum=0))
    here.emulator.clock.advance(DRAIN_S)

    assert here.plane.observe(ref).phase is Phase.STOPPED
    assert here.emulator.billing == 0


def test_stopped_endpoint_bills_nothing_and_starts_again(here: World) -> None:
    ref = here.serve()
    here.plane.stop(ref)
    stopping = here.plane.observe(ref)
    here.emulator.clock.advance(DRAIN_S)
    stopped, bills = here.plane.observe(ref), here.emulator.billing

    here.plane.scale(ref, Replicas(minimum=1, maximum=1))
    again = here.await_ready(ref)

    assert stopping.phase is Phase.STOPPING
    assert (stopped.phase, bills) == (Phase.STOPPED, 0)
    assert again.phase is Phase.READY
    assert chat_status(here, ref) == 200


def test_stop_is_idempotent(here: World) -> None:
    ref = here.serve()

    here.plane.stop(ref)
    here.plane.stop(ref)
    here.emulator.clock.advance(DRAIN_S)
    here.plane.stop(ref)

    assert here.plane.observe(ref).phase is Phase.STOPPED


def test_delete_is_idempotent(here: World) -> None:
    ref = here.serve()
    here.plane.stop(ref)
    here.emulator.clock.advance(DRAIN_S)

    here.plane.delete(ref)
    here.plane.delete(ref)

    assert here.made() == 0


@pytest.mark.parametrize("by_id", [True, False])
def test_stop_and_delete_of_deleted_endpoint_succeed(here: World, by_id: bool) -> None:
    ref = here.serve()
    here.emulator.vanish()
    if not by_id:
        ref = EndpointRef(api=here.api, name=NAME)

    here.plane.stop(ref)
    here.plane.delete(ref)

    assert here.plane.observe(ref).phase is Phase.GONE


def test_scale_of_deleted_endpoint_is_an_error(here: World) -> None:
    with pytest.raises(TerminalError, match=f"endpoint {NAME} does not exist"):
        here.plane.scale(EndpointRef(api=here.api, name=NAME), Replicas())


def test_starting_endpoint_can_be_deleted(here: World) -> None:
    ref = here.plane.create(here.spec())
    here.emulator.clock.advance(30)

    here.tear_down(ref)

    assert (here.made(), here.emulator.billing) == (0, 0)
    assert here.emulator.ledger().usd == 0


def test_failed_endpoint_is_deleted_without_a_stop(here: World) -> None:
    post = "/deployments$" if here.api == "v2" else "/v1/endpoints$"
    here.emulator.use_faults(FaultRule(action="fail_start", method="POST", path=post))
    ref = here.serve()
    failed = here.plane.observe(ref)

    here.tear_down(ref)

    assert failed.phase is Phase.FAILED
    assert here.made() == 0


def test_failed_endpoint_is_replaced_and_not_adopted(here: World) -> None:
    post = "/deployments$" if here.api == "v2" else "/v1/endpoints$"
    here.emulator.use_faults(FaultRule(action="fail_start", method="POST", path=post, nth=(1,)))
    here.serve()

    again = here.plane.create(here.spec())

    assert here.await_ready(again).phase is Phase.READY
    here.tear_down(again)
    assert here.made() == 0


def test_list_holds_names_with_the_prefix_only(here: World) -> None:
    ours = here.plane.create(here.spec())
    here.plane.create(here.spec(OTHER_NAME))
    here.plane.create(here.spec("a-users-own"))

    names = {ref.name for ref in here.plane.list_endpoints("mayfly-contract-0123456789-")}
    ours_all = {ref.name for ref in here.plane.list_endpoints("mayfly-")}

    assert names == {NAME}
    assert ours_all == {NAME, OTHER_NAME}
    assert len(here.plane.list_endpoints("")) == 3
    assert here.plane.list_endpoints("mayfly-")[0].api == here.api
    assert here.plane.list_endpoints(NAME)[0].endpoint_id == ours.endpoint_id


def test_endpoint_is_found_by_each_of_its_names(here: World) -> None:
    ref = here.plane.create(here.spec())

    found = [here.plane.find(name) for name in (NAME, ref.inference_name, ref.endpoint_id)]

    assert [each and each.endpoint_id for each in found] == [ref.endpoint_id] * 3
    assert here.plane.find("mayfly-contract-0000000000-00000000") is None
    assert here.plane.find("ep_nowhere") is None
    assert here.plane.find("endpoint-nowhere") is None


def test_found_endpoint_is_not_marked_as_created_by_us(here: World) -> None:
    here.plane.create(here.spec())

    found = here.plane.find(NAME)

    assert found is not None
    assert not found.created_by_us
