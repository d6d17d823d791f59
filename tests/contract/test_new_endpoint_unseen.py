"""An API that shows a new endpoint only after a while: a 404 before that proves nothing."""

import pytest

from mayfly.models.endpoint import Phase
from mayfly.models.errors import EndpointLost, RetryableError
from mayfly.together.readiness import await_ready
from mayfly.together.teardown import tear_down
from tests.support.control_plane import EmulatedService, emulated_service, repeated
from together_emulator import Emulator, FaultRule

HIDDEN = FaultRule(action="status", method="GET", path=r"/endpoints/[^/]+$", status=404, first=3)
NO_CHILD = FaultRule(
    action="status", method="POST", path="/deployments$", status=404, message="endpoint not found"
)


def test_teardown_of_unseen_endpoint_waits_and_deletes_it(service: EmulatedService) -> None:
    ref = service.serve()
    service.emulator.use_faults(HIDDEN)

    proof = tear_down(
        service.plane,
        ref,
        policy="delete",
        line="finally",
        budget_s=600,
        unseen_s=45,
        now=service.emulator.clock.now_s,
        clock=service.emulator.clock.now_s,
        sleep=service.emulator.clock.advance,
    )

    assert (service.made(), service.emulator.billing) == (0, 0)
    assert proof.not_found_read_back


@pytest.mark.parametrize("unseen", [True, False])
def test_wait_for_endpoint_that_is_not_shown(service: EmulatedService, unseen: bool) -> None:
    ref = service.serve()
    service.emulator.use_faults(HIDDEN)

    def wait() -> Phase:
        return await_ready(
            service.plane,
            ref,
            ready_timeout_s=600,
            capacity_timeout_s=60,
            on_observation=lambda _observation: None,
            unseen=lambda: unseen,
            clock=service.emulator.clock.now_s,
            sleep=service.emulator.clock.advance,
        ).phase

    if unseen:
        assert wait() is Phase.READY
    else:
        with pytest.raises(EndpointLost):
            wait()


def test_deployment_of_unseen_endpoint_is_created_later(emulator: Emulator) -> None:
    with emulated_service("v2", emulator) as service:
        spec = service.spec()
        emulator.use_faults(HIDDEN, NO_CHILD)

        with pytest.raises(RetryableError, match="does not show the new endpoint yet"):
            service.plane.create(spec)

        emulator.use_faults()
        ref = repeated(lambda: service.plane.create(spec))
        assert len(ref.deployment_ids) == 1
        assert service.made() == 1
