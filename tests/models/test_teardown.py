"""Messages of a teardown that did not end: what bills, and the command that ends it."""

from mayfly.models.endpoint import EndpointRef
from mayfly.models.teardown import unfinished_teardown

REF = EndpointRef(api="v2", name="mayfly-tests-0123456789-6b067ea5", price_usd_per_h=5.49)


def test_billing_endpoint_is_reported_with_rate_and_since_when() -> None:
    message = unfinished_teardown(
        REF, bills=True, since=1_790_000_000.0, why="no answer", aim="delete"
    )

    assert message == (
        "endpoint mayfly-tests-0123456789-6b067ea5 may still bill since 2026-09-21 14:13:20 UTC "
        "at $5.49/h a replica: no answer; end it with "
        "`mayfly endpoints delete mayfly-tests-0123456789-6b067ea5 --api v2`"
    )


def test_stopped_endpoint_is_not_reported_as_billing() -> None:
    message = unfinished_teardown(
        REF, bills=False, since=1_790_000_000.0, why="no answer", aim="delete"
    )

    assert "no longer bills, but still exists: no answer" in message
    assert "$" not in message


def test_endpoint_to_be_stopped_has_a_stop_command() -> None:
    message = unfinished_teardown(REF, bills=True, since=None, why="no answer", aim="stop")

    assert f"`mayfly endpoints stop {REF.name} --api v2`" in message
    assert "delete" not in message
