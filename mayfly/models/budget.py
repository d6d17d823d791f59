"""The monthly budget, read from the environment."""

import math

from mayfly.models.errors import BadRequest

VARIABLE = "MAYFLY_MONTHLY_BUDGET_USD"


def read_budget(text: str) -> float | None:
    """Return the budget in dollars, from the variable's text; None if it is empty.

    Raises:
        BadRequest: The text is not an amount.
    """
    text = text.strip()
    if not text:
        return None
    try:
        budget_usd = float(text.removeprefix("$"))
    except ValueError:
        budget_usd = math.nan
    if not 0 <= budget_usd < math.inf:
        raise BadRequest(f"{VARIABLE} must be an amount of dollars such as 500, not {text!r}")
    return budget_usd
