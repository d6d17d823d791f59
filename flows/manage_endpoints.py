"""The flow `manage-endpoints`: what `mayfly endpoints` does, as a Prefect form."""

from typing import Any

from prefect import flow

from mayfly.endpoints.admin import Action
from mayfly.models.endpoint import Api
from mayfly.orchestration.credentials import TogetherCredentials, environment_with
from mayfly.orchestration.one_line import credentials_of, ended_in_one_line
from mayfly.tasks.manage import manage


@flow(name="manage-endpoints", flow_run_name="{action} {name}", validate_parameters=False)
def manage_endpoints(
    action: Action = "list",
    name: str = "",
    replicas: str = "1",
    force: bool = False,  # noqa: FBT001, FBT002 - a switch of the form
    api: Api = "v2",
    credentials: TogetherCredentials | None = None,
) -> list[dict[str, Any]]:
    """List, show, start, stop, scale or delete endpoints.

    Args:
        action: What to do. Stop waits until billing has ended; delete also confirms the deletion
            (404).
        name: Name of the endpoint, with or without slug, or its id; not needed for list.
        replicas: For start and scale: N, or MIN-MAX to autoscale.
        force: Also stop an endpoint that a run uses, and delete one that mayfly did not create.
        api: Generation of the endpoint API.
        credentials: Together credentials block; if unset, the worker's environment has the API key.
    """
    return ended_in_one_line(
        lambda: manage(
            environment_with(credentials_of(credentials)),
            action=action,
            name=name,
            replicas=replicas,
            force=force,
            api=api,
        )
    )
