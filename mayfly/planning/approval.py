"""When a person has to be asked before money is spent."""


def has_to_ask(
    *, approve_above_usd: float | None, estimated_usd: float | None, max_cost_usd: float | None
) -> bool:
    """Whether a run may cost more than its owner lets it without being asked.

    A run whose cost cannot be estimated may cost anything; one with a limit costs no more.

    Args:
        approve_above_usd: What may be spent unasked, in dollars; None asks never.
        estimated_usd: What the plan expects at most, in dollars; None is not known.
        max_cost_usd: Where the run stops by itself, in dollars; None is nowhere.
    """
    if approve_above_usd is None:
        return False
    if max_cost_usd is not None and max_cost_usd <= approve_above_usd:
        return False
    return estimated_usd is None or estimated_usd > approve_above_usd or approve_above_usd == 0
