"""A job's tags on its flow run, so that runs are found by them in the Prefect UI."""

from collections.abc import Mapping
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext

from mayfly.orchestration.record import run_logger


def tag_flow_run(tags: Mapping[str, str]) -> None:
    """Add `KEY=VALUE` tags to the flow run that this is part of; nothing where there is none.

    Task runs get none: a concurrency limit of Prefect's on such a tag would hold up teardown.
    """
    context = FlowRunContext.get()
    if not tags or context is None or context.flow_run is None:
        return
    flow_run = context.flow_run
    wanted = {*flow_run.tags, *(f"{key}={value}" for key, value in tags.items())}
    try:
        with get_client(sync_client=True) as client:
            client.update_flow_run(UUID(str(flow_run.id)), tags=sorted(wanted))
    except Exception as error:  # noqa: BLE001 - Prefect's record is for people
        run_logger().warning("Prefect does not show the tags: %s", error)
