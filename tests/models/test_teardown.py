"""What is said of a teardown that did not end: what bills, and the command that ends it."""

from mayfly.models.endpoint import EndpointRef
from mayfly.models.teardown import unfinished_teardown

REF = EndpointRef(api="v2", name="mayfly-tests-0123456789-6b067ea5", price_usd_per_h=5.49)


def test_what_may_bill_is_told_with_its_rate_and_since_when() -> None:
    told = unfinished_teardown(
        REF, bills=True, since=1_790_000_000.0, why="no answer", aim="delete"
    )

    assert told == (
        "endpoint mayfly-tests-0123456789-6b067ea5 may still bill since 2026-09-21 14:13:20 UTC "
        "at $5.49/h a replica: no answer; end it with "
        "`mayfly endpoints delete mayfly-tests-0123456789-6b067ea5 --api v2`"
    )


def test_what_was_stopped_is_not_said_to_bill() -> None:
    told = unfinished_teardown(
        REF, bills=False, since=1_790_000_000.0, why="no answer", aim="delete"
    )

    assert "no longer bills, but still exists: no answer" in told
    assert "$" not in told


def test_nobody_is_told_to_delete_what_was_only_to_be_stopped() -> None:
    told = unfinished_teardown(REF, bills=True, since=None, why="no answer", aim="stop")

    assert f"`mayfly endpoints stop {REF.name} --api v2`" in told
    assert "delete" not in told
