"""Step: sweep up what has no live owner."""

import os
from typing import Any

from prefect import get_run_logger

from tasks.cloud.connection import Connection, connect
from tasks.core.endpoint import Api
from tasks.core.errors import TeardownFailed
from tasks.step import step, tell
from tasks.storage.lease_file import LeaseBook
from tasks.sweeping import sweep as sweep_up


@step("sweep endpoints")
def sweep(*, api: Api, dry_run: bool) -> dict[str, Any]:
    """Sweep once; the state is Failed when something could not be ended."""
    connection = Connection.from_env(os.environ)
    logger = get_run_logger()
    with connect(api, connection) as plane:
        report = sweep_up(plane, LeaseBook.of(os.environ), connection, dry_run=dry_run)
    for line in report.lines():
        logger.info("%s", line)
    if report.failed:
        raise TeardownFailed("; ".join(report.failed))
    tell(
        report.lines()[0]
        if len(report.found) < 2
        else f"{len(report.found)} endpoints looked at, {report.ended} ended"
    )
    return report.as_dict()
