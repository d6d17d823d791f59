"""Whose key a run uses: a block of Prefect's, or the environment.

A block that was chosen in the form takes the place of the environment's variables for that run
alone: what follows from them is passed down, and handed to the guardian, which is a process of its
own. What Prefect stores of a run is the block's id alone.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from prefect.blocks.core import Block
from pydantic import Field, SecretStr, field_validator

from mayfly.runs.environment import Environment


class TogetherCredentials(Block):
    """A Together API key, and optionally the project and the API's address.

    Example:
        TogetherCredentials(api_key="...").save("together")
    """

    _block_type_name = "Together Credentials"
    _block_type_slug = "together-credentials"
    _description = "API key, project and address of Together AI, for the flows of mayfly."
    # No logo and no documentation by URL: the project has no address on the web yet.

    api_key: SecretStr = Field(
        title="API key", description="Together API key; stored encrypted and never shown again"
    )
    # Text that may be empty, not null: for null a form offers a choice of types.
    project: str = Field(
        default="", title="Project", description="project id; empty means the key's own project"
    )
    base_url: str = Field(
        default="",
        title="Base URL",
        description="address of the API; empty means TOGETHER_BASE_URL of the worker, else "
        "Together's",
    )

    monthly_budget_usd: str = Field(
        default="",
        title="Monthly budget (USD)",
        description="refuse a run with which the runs of a calendar month would probably cost "
        "more; empty means that of the worker (MAYFLY_MONTHLY_BUDGET_USD), else none",
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
            # Not the environment's project with another key: an empty one is asked of the API.
            "TOGETHER_PROJECT_ID": self.project,
        }
        if self.base_url:
            variables["TOGETHER_BASE_URL"] = self.base_url
        if self.monthly_budget_usd:
            variables["MAYFLY_MONTHLY_BUDGET_USD"] = self.monthly_budget_usd
        return variables


def environment_with(credentials: TogetherCredentials | None) -> Environment:
    """Read this process's environment, with a block's variables instead of its own.

    Raises:
        BadRequest: There is no key, or a value that cannot be one.
    """
    given = {} if credentials is None else credentials.environment()
    return Environment.of({**os.environ, **given})


def environment_of(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment of a flow run from its parameters, for those who end it from outside.

    A hook may run in the worker, which never had the block's key.
    """
    chosen = parameters.get("credentials")
    if isinstance(chosen, dict):
        # Without Prefect's server there is no block: the environment may do, and a failed attempt
        # costs less than an endpoint that nobody ends.
        with suppress(Exception):
            chosen = TogetherCredentials.load_from_ref(chosen["$ref"])
    if not isinstance(chosen, TogetherCredentials):
        return dict(os.environ)
    return {**os.environ, **chosen.environment()}
