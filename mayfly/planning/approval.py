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
