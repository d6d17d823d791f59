"""Step: sweep orphaned endpoints."""

from typing import Any

from prefect import get_run_logger
from prefect.events import emit_event

from mayfly.endpoints.sweep import GENERATIONS, sweep_all
from mayfly.models.endpoint import Api
from mayfly.models.errors import TeardownFailed
from mayfly.orchestration.notifications import ORPHAN_ENDED_EVENT
from mayfly.runs.environment import Environment
from mayfly.tasks.step import set_message, step


@step("sweep endpoints")
def sweep(environment: Environment, *, api: Api | None, dry_run: bool) -> dict[str, Any]:
    """Sweep once; the state is Failed when an endpoint could not be ended."""
    logger = get_run_logger()
    report = sweep_all(
        environment.connection,
        environment.leases,
        apis=GENERATIONS if api is None else (api,),
        dry_run=dry_run,
    )
    for line in report.lines():
        logger.info("%s", line)
    if report.ended and not dry_run:
        # An endpoint outlived its run: notify people through the automation.
        emit_event(
            ORPHAN_ENDED_EVENT,
            resource={"prefect.resource.id": "mayfly.sweep", "prefect.resource.name": "the sweep"},
            payload={"found": report.found},
        )
    if report.failed or report.damaged:
        raise TeardownFailed("; ".join(report.failed + report.damaged))
    set_message("; ".join(report.lines()[:3]))
    return report.as_dict()
