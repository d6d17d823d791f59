"""Open the control plane of either API generation."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mayfly.models.endpoint import Api
from mayfly.models.errors import BadRequest, CredentialsRefused
from mayfly.together.connection import Connection
from mayfly.together.control_plane import ControlPlane
from mayfly.together.retry import with_retries


@contextmanager
def connect(
    api: Api, connection: Connection, *, log: Callable[[str], None] = lambda _text: None
) -> Iterator[ControlPlane]:
    """Open the control plane; only this function distinguishes the API generations.

    If the connection names a project, the API is not called yet.

    Args:
        log: Receives a line about what is waited for.

    Raises:
        BadRequest: The key is rejected or does not belong to exactly one project, or the API
            cannot be reached.
    """
    # Importing the SDK takes half a second, so it is deferred until the API is needed.
    plane: ControlPlane
    try:
        if api == "v1":
            from mayfly.together.endpoints_v1 import EndpointsV1  # noqa: PLC0415

            plane = with_retries(lambda: EndpointsV1(connection), log=log)
        else:
            from mayfly.together.endpoints_v2 import EndpointsV2  # noqa: PLC0415

            plane = with_retries(lambda: EndpointsV2(connection), log=log)
    except CredentialsRefused as refusal:
        # Nothing has been created yet.
        raise BadRequest(str(refusal)) from refusal
    try:
        yield plane
    finally:
        plane.close()
