"""The official SDK as we use it: one attempt for each call, a bound on each, no proxy at home."""

from typing import Any

from mayfly.models.errors import BadRequest
from mayfly.together.connection import Connection
from mayfly.together.errors import Refused, translated
from mayfly.together.parsing import field, listed, text


def open_client(connection: Connection) -> Any:
    """Return the SDK's client for a connection.

    The SDK repeats POST creates without an idempotency key; our callers repeat by name instead.
    """
    # The SDK's import takes half a second, so it waits until somebody needs the API.
    from together import DefaultHttpxClient, Together  # noqa: PLC0415

    # A proxy that the environment names for the world outside does not know our loopback.
    home = connection.provider == "loopback"
    return Together(
        api_key=connection.api_key,
        base_url=connection.base_url,
        project_id=connection.project or None,
        default_headers=dict(connection.extra_headers),
        max_retries=0,
        timeout=connection.timeout_s,
        http_client=DefaultHttpxClient(trust_env=False) if home else None,
    )


def own_project(client: Any) -> str:
    """Return the id of the one project that the key belongs to.

    Raises:
        BadRequest: It belongs to none or to several; the message names them.
    """
    try:
        with translated("ask whose key this is"):
            identity = client.whoami()
    except Refused as refusal:
        raise BadRequest(f"{refusal}; set TOGETHER_PROJECT_ID to the project's id") from refusal
    # Nested since v3, flat before.
    if project := text(field(identity, "project"), "id") or text(identity, "project_id"):
        return project
    try:
        projects = listed("list projects", client.projects.list)
    except Refused:
        projects = []
    if len(projects) == 1 and (only := text(projects[0], "id")):
        return only
    named = ", ".join(f"{text(p, 'id')} ({text(p, 'name')})" for p in projects[:10])
    raise BadRequest(
        "the key belongs to no single project; set TOGETHER_PROJECT_ID to "
        + (f"one of: {named}" if named else "the project's id")
    )
