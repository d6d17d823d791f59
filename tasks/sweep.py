"""Step: sweep up what has no live owner."""

from typing import Any

from prefect import get_run_logger
from prefect.events import emit_event

from mayfly.endpoints.sweep import GENERATIONS, sweep_all
from mayfly.models.endpoint import Api
from mayfly.models.errors import TeardownFailed
from mayfly.orchestration.notifications import LEFT_BEHIND
from mayfly.runs.environment import Environment
from mayfly.tasks.step import step, tell


@step("sweep endpoints")
def sweep(environment: Environment, *, api: Api | None, dry_run: bool) -> dict[str, Any]:
    """Sweep once; the state is Failed when something could not be ended."""
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
        # Something outlived its run: whoever is told by an automation should know.
        emit_event(
            LEFT_BEHIND,
            resource={"prefect.resource.id": "mayfly.sweep", "prefect.resource.name": "the sweep"},
            payload={"found": report.found},
        )
    if report.failed or report.damaged:
        raise TeardownFailed("; ".join(report.failed + report.damaged))
    tell("; ".join(report.lines()[:3]))
    return report.as_dict()
