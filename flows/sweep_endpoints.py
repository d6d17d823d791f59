"""The flow `sweep-endpoints`: end orphaned endpoints; scheduled every ten minutes."""

from typing import Any

from prefect import flow

from mayfly.models.endpoint import Api
from mayfly.orchestration.credentials import TogetherCredentials, environment_with
from mayfly.orchestration.one_line import credentials_of, ended_in_one_line
from mayfly.tasks.sweep import sweep


@flow(name="sweep-endpoints", validate_parameters=False)
def sweep_endpoints(
    api: Api | None = None,
    dry_run: bool = False,  # noqa: FBT001, FBT002 - a switch of the form
    credentials: TogetherCredentials | None = None,
) -> dict[str, Any]:
    """Find orphaned endpoints of earlier runs and tear them down.

    Args:
        api: Generation of the endpoint API; if unset, both.
        dry_run: Only report what would be done.
        credentials: Together credentials block; if unset, the worker's environment has the API key.
    """
    return ended_in_one_line(
        lambda: sweep(environment_with(credentials_of(credentials)), api=api, dry_run=dry_run)
    )
