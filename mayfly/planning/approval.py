"""Decide whether a person must approve a run before money is spent."""


def approval_needed(
    *, approve_above_usd: float | None, estimated_usd: float | None, max_cost_usd: float | None
) -> bool:
    """Return whether a run may cost more than can be spent without approval.

    A run whose cost cannot be estimated needs approval, unless `max_cost_usd` bounds it.

    Args:
        approve_above_usd: Dollars that need no approval; None means that none is ever needed.
        estimated_usd: Upper end of the estimated cost, in dollars; None when it is unknown.
        max_cost_usd: The run's cost limit, in dollars; None when there is none.
    """
    if approve_above_usd is None:
        return False
    if max_cost_usd is not None and max_cost_usd <= approve_above_usd:
        return False
    return estimated_usd is None or estimated_usd > approve_above_usd or approve_above_usd == 0


COVERED = 1.1
"""Other runs that end during the wait change an estimate a little; nobody wants to be asked again
for that."""


def approval_covers(approved_usd: float, estimated_usd: float) -> bool:
    """Return whether the approval of one estimate is also that of a later one.

    Args:
        approved_usd: Upper end of the approved estimate in dollars; infinity when it was unknown.
        estimated_usd: Upper end of the present estimate in dollars; infinity when it is unknown.
    """
    # A question shows whole cents.
    return estimated_usd <= approved_usd * COVERED + 0.005
