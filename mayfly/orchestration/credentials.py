"""Credentials of a run: a Prefect block, or the environment.

A block chosen in the form replaces the environment's variables for that run only: they are passed
down, and to the guardian process. Prefect stores only the block's id with a run.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from prefect.blocks.core import Block
from pydantic import Field, HttpUrl, SecretStr, field_validator

from mayfly.runs.environment import Environment


class TogetherCredentials(Block):
    """A Together API key, and optionally the project and the base URL.

    Example:
        TogetherCredentials(api_key="...").save("together")
    """

    _block_type_name = "Together Credentials"
    _block_type_slug = "together-credentials"
    _description = "API key, project and base URL of Together AI, for mayfly's flows."
    _logo_url = HttpUrl(
        "https://raw.githubusercontent.com/mayfly-batch/mayfly/main/docs/images/logo.svg"
    )
    _documentation_url = HttpUrl(
        "https://github.com/mayfly-batch/mayfly/blob/main/docs/how-to/schedule.md"
    )

    api_key: SecretStr = Field(
        title="API key", description="Together API key; stored encrypted and never shown again"
    )
    # Empty text instead of null: for a nullable field the form offers a choice of types.
    project: str = Field(
        default="", title="Project", description="project id; empty: the project of the API key"
    )
    base_url: str = Field(
        default="",
        title="Base URL",
        description="base URL of the API; empty: TOGETHER_BASE_URL of the worker, or Together's",
    )

    monthly_budget_usd: str = Field(
        default="",
        title="Monthly budget (USD)",
        description="reject a run that would probably exceed this budget for all runs of a "
        "calendar month; empty: MAYFLY_MONTHLY_BUDGET_USD of the worker, or no budget",
    )

    @field_validator("project", "base_url", "monthly_budget_usd", mode="before")
    @classmethod
    def _empty_for_null(cls, given: object) -> object:
        """Read blocks that were saved when these fields could be null."""
        return "" if given is None else given

    def environment(self) -> dict[str, str]:
        """Return the SDK's variables for these credentials; they hold the key."""
        variables = {
            "TOGETHER_API_KEY": self.api_key.get_secret_value(),
            # Never the environment's project with another key; empty means to ask the API.
            "TOGETHER_PROJECT_ID": self.project,
        }
        if self.base_url:
            variables["TOGETHER_BASE_URL"] = self.base_url
        if self.monthly_budget_usd:
            variables["MAYFLY_MONTHLY_BUDGET_USD"] = self.monthly_budget_usd
        return variables


def environment_with(credentials: TogetherCredentials | None) -> Environment:
    """Read this process's environment, overridden by a block's variables.

    Raises:
        BadRequest: There is no API key, or a value is invalid.
    """
    given = {} if credentials is None else credentials.environment()
    return Environment.of({**os.environ, **given})


def environment_of(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment of a flow run from its parameters, to end it from outside.

    A hook may run in the worker process, which never had the block's key.
    """
    chosen = parameters.get("credentials")
    if isinstance(chosen, dict):
        # Without the Prefect server the block cannot be loaded. Try the environment: a failed
        # attempt costs less than an orphaned endpoint.
        with suppress(Exception):
            chosen = TogetherCredentials.load_from_ref(chosen["$ref"])
    if not isinstance(chosen, TogetherCredentials):
        return dict(os.environ)
    return {**os.environ, **chosen.environment()}
