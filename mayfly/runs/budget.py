"""The monthly budget of all runs, checked before anything is created."""

import math
import time
from collections.abc import Iterable, Mapping
from typing import Any

from mayfly.models.budget import VARIABLE, read_budget
from mayfly.models.errors import BadRequest
from mayfly.models.lease import Lease
from mayfly.planning.plan import Plan
from mayfly.planning.pricing import dollars
from mayfly.runs.environment import Environment
from mayfly.storage.history_store import read_history


def spent_this_month_usd(
    history: Iterable[Mapping[str, Any]],
    leases: Iterable[Lease] = (),
    *,
    provider: str,
    now: float,
) -> float:
    """Return what the runs of this calendar month (UTC) have cost, in dollars.

    Ended runs are taken from the history, in the month in which they ended. Endpoints of active
    runs count since they were READY, as if with one replica.

    Args:
        provider: Identity of the API host to count. Records of older versions have no provider
            and always count.
        now: Unix time in seconds.
    """
    month = time.gmtime(now)[:2]
    ended = (
        float(record.get("usd") or 0.0)
        for record in history
        if record.get("provider") in (None, provider)
        and time.gmtime(record.get("ended_at") or record.get("started_at") or 0.0)[:2] == month
    )
    running = (
        max(0.0, now - lease.ready_at) / 3600 * lease.ref.price_usd_per_h
        for lease in leases
        if lease.ready_at is not None and lease.provider == provider
    )
    return sum(ended) + sum(running)


def check_budget(plan: Plan, environment: Environment) -> None:
    """Reject a run that would probably exceed the monthly budget.

    The cost of a run is its plan's most likely estimate, or its --max-cost if that is less. A run
    without remaining rows costs nothing. A run of unknown cost (on an existing endpoint) is
    rejected only once the budget is used up.

    Raises:
        BadRequest: The run would exceed the budget (the message says what is left), or the
            budget is not an amount.
    """
    budget_usd = read_budget(environment.monthly_budget)
    if budget_usd is None or plan.finished or (plan.load is not None and plan.load.rows == 0):
        return
    spent_usd = spent_this_month_usd(
        read_history(environment.folders),
        environment.leases.list().open,
        provider=environment.connection.provider,
        now=environment.clock.time(),
    )
    quote, max_cost_usd = plan.chosen, plan.preview.job.limits.max_cost_usd
    probable_usd = None if quote is None else quote.forecast.usd.mid
    known = [usd for usd in (probable_usd, max_cost_usd) if usd is not None]
    cost_usd = min(known, default=0.0)
    if spent_usd + cost_usd <= budget_usd and spent_usd < budget_usd:
        return
    left_usd = budget_usd - spent_usd
    run = f", and this run probably costs {dollars(cost_usd)}" if known else ""
    minimum_usd = plan.usd_per_h / 60
    advice = (
        f"raise it, or give --max-cost {math.floor(left_usd * 100) / 100:.2f}"
        if left_usd >= max(minimum_usd, 0.01)
        else "raise it, or wait for the next month"
    )
    raise BadRequest(
        f"monthly budget of {dollars(budget_usd)} ({VARIABLE}): {dollars(spent_usd)} spent this "
        f"month{run}; {advice}"
    )
