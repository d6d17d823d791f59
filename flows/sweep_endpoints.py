"""Ends what an earlier run left behind; scheduled every ten minutes by prefect.yaml."""

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
    """Find endpoints that carry our name and have no live owner, and tear them down.

    Args:
        api: Generation of the endpoint API; unset, both.
        dry_run: Only say what would be done.
        credentials: Together credentials to look with; unset, the worker's environment has the key.
    """
    return ended_in_one_line(
        lambda: sweep(environment_with(credentials_of(credentials)), api=api, dry_run=dry_run)
    )
