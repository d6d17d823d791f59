"""A teardown repeats failing calls until the endpoint is deleted."""

import pytest

from mayfly.models.errors import TeardownFailed
from tests.support.control_plane import EmulatedService
from together_emulator import FaultRule

BUSY = FaultRule(action="status", status=429, headers={"retry-after": "7"}, chance=0.5)
TROUBLES = {
    "429": BUSY,
    "500": FaultRule(action="status", status=500, chance=0.5),
    "503": FaultRule(action="status", status=503, chance=0.5),
    "a conflict": FaultRule(action="status", status=409, chance=0.5),
    "a connection that breaks before": FaultRule(action="reset_before", chance=0.5),
    "a connection that breaks after": FaultRule(action="reset_after", chance=0.5),
    "half an answer": FaultRule(action="truncate", chance=0.5),
    "broken JSON": FaultRule(action="malformed", chance=0.5),
    "a page of HTML": FaultRule(action="not_json", chance=0.5),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_teardown_with_every_second_call_failing_deletes_endpoint(
    service: EmulatedService, trouble: str
) -> None:
    ref = service.serve()
    assert service.emulator.billing == 1
    service.emulator.use_faults(TROUBLES[trouble])

    proof = service.tear_down(ref)

    assert service.made() == 0
    assert service.emulator.billing == 0
    assert proof.not_found_read_back
    assert proof.stop_requested_at is not None
    assert proof.stopped_at is not None
    assert proof.gone_at is not None
    assert proof.stop_requested_at <= proof.stopped_at <= proof.gone_at


def test_teardown_that_fails_says_what_bills_and_how_to_end_it(service: EmulatedService) -> None:
    ref = service.serve()
    service.emulator.use_faults(FaultRule(action="status", status=503, message="at midnight"))

    with pytest.raises(TeardownFailed) as failed:
        service.tear_down(ref, budget_s=60)

    rate = f"${ref.price_usd_per_h:.2f}/h a replica"
    assert f"endpoint {ref.name} may still bill at {rate}" in str(failed.value)
    assert "at midnight" in str(failed.value)
    assert f"`mayfly endpoints delete {ref.name} --api {service.api}`" in str(failed.value)
