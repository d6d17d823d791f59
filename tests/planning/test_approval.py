"""When a person is asked before money is spent."""

import math

import pytest

from mayfly.planning.approval import approval_covers, approval_needed


@pytest.mark.parametrize(
    ("above", "estimated", "cap", "needs_approval"),
    [
        (None, 1000.0, None, False),
        (None, None, None, False),
        (10.0, 9.0, None, False),
        (10.0, 11.0, None, True),
        (10.0, None, None, True),
        (10.0, None, 10.0, False),
        (10.0, 11.0, 8.0, False),
        (10.0, 11.0, 50.0, True),
        (0.0, 0.0, None, True),
    ],
)
def test_approval_is_required_only_above_the_allowed_cost(
    above: float | None, estimated: float | None, cap: float | None, needs_approval: bool
) -> None:
    assert needs_approval == approval_needed(
        approve_above_usd=above, estimated_usd=estimated, max_cost_usd=cap
    )


@pytest.mark.parametrize(
    ("approved", "estimated", "covered"),
    [
        (10.0, 4.0, True),
        (10.0, 10.9, True),
        (10.0, 11.1, False),
        (0.0, 0.004, True),
        (0.09, 0.18, False),
        (math.inf, 500.0, True),
        (math.inf, math.inf, True),
        (10.0, math.inf, False),
    ],
)
def test_approval_covers_a_later_estimate_that_is_little_higher(
    approved: float, estimated: float, covered: bool
) -> None:
    assert approval_covers(approved, estimated) == covered
