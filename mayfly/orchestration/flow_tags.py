"""Add a job's tags to its flow run, so that the Prefect UI can filter by them."""

from collections.abc import Mapping
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext

from mayfly.orchestration.record import run_logger


def tag_flow_run(tags: Mapping[str, str]) -> None:
    """Add `KEY=VALUE` tags to the current flow run; do nothing outside a flow run.

    Task runs get none: a Prefect concurrency limit on such a tag would delay the teardown.
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
        run_logger().warning("could not set the tags in Prefect: %s", error)
