"""Endpoints by hand, from a form: what `mayfly endpoints` does in a terminal."""

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
    anyway: bool = False,  # noqa: FBT001, FBT002 - a switch of the form
    api: Api = "v2",
    credentials: TogetherCredentials | None = None,
) -> list[dict[str, Any]]:
    """List, show, start, stop, scale or delete endpoints.

    Args:
        action: What to do. Stop waits until nothing bills; delete stops first, and reads back.
        name: The endpoint's name, with or without slug, or its id; not needed to list.
        replicas: For start and scale: N, or MIN-MAX to autoscale.
        anyway: Also stop what a live run uses, and delete what mayfly did not make.
        api: Generation of the endpoint API.
        credentials: Together credentials; unset, the worker's environment has the key.
    """
    return ended_in_one_line(
        lambda: manage(
            environment_with(credentials_of(credentials)),
            action=action,
            name=name,
            replicas=replicas,
            anyway=anyway,
            api=api,
        )
    )
