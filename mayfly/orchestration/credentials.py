"""Whose key a run uses: a block of Prefect's, or the environment.

Everything below takes the key from the environment, as the official SDK does; so does the
guardian, which is a process of its own. A block that was chosen in the form becomes that
environment for as long as the run lasts. What Prefect stores of a run is the block's id alone.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from prefect.blocks.core import Block
from pydantic import Field, SecretStr


class TogetherCredentials(Block):
    """A Together API key, and optionally the project and the API's address.

    Example:
        TogetherCredentials(api_key="...").save("together")
    """

    _block_type_name = "Together Credentials"
    _block_type_slug = "together-credentials"
    _description = "Key, project and address for Together AI; mayfly's flows run with it."

    api_key: SecretStr = Field(title="API key", description="Together API key; kept encrypted")
    project: str | None = Field(
        default=None, title="Project", description="project id; unset, that of the key"
    )
    base_url: str | None = Field(
        default=None,
        title="Base URL",
        description="address of the API; unset, TOGETHER_BASE_URL of the worker, else Together's",
    )

    def environment(self) -> dict[str, str]:
        """Return the SDK's variables for these credentials; they hold the key."""
        variables = {
            "TOGETHER_API_KEY": self.api_key.get_secret_value(),
            # Not the environment's project with another key: an empty one is asked of the API.
            "TOGETHER_PROJECT_ID": self.project or "",
        }
        return variables | ({"TOGETHER_BASE_URL": self.base_url} if self.base_url else {})


@contextmanager
def credentials_env(credentials: TogetherCredentials | None) -> Iterator[None]:
    """Let the block's key be this process's, and its children's, while the block lasts."""
    if credentials is None:
        yield
        return
    before = dict(os.environ)
    os.environ.update(credentials.environment())
    try:
        yield
    finally:
        for name in credentials.environment():
            if name in before:
                os.environ[name] = before[name]
            else:
                del os.environ[name]


def environment_of(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment of a flow run from its parameters, for whoever ends it from outside.

    A hook may run in the worker, which never had the block's key.
    """
    chosen = parameters.get("credentials")
    if isinstance(chosen, dict):
        # Without Prefect's server there is no block: the environment may do, and trying costs less
        # than an endpoint that nobody ends.
        with suppress(Exception):
            chosen = TogetherCredentials.load_from_ref(chosen["$ref"])
    if not isinstance(chosen, TogetherCredentials):
        return dict(os.environ)
    return {**os.environ, **chosen.environment()}
