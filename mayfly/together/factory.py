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
    """Open the control plane; the only place that asks which API generation is spoken.

    With a connection that names a project nothing is asked of the API yet.

    Args:
        log: Receives a line about what is waited for.

    Raises:
        BadRequest: The key is refused, belongs to no single project, or the API cannot be reached.
    """
    # The SDK's import takes half a second, so it waits until somebody needs the API.
    plane: ControlPlane
    try:
        if api == "v1":
            from mayfly.together.endpoints_v1 import EndpointsV1  # noqa: PLC0415

            plane = with_retries(lambda: EndpointsV1(connection), log=log)
        else:
            from mayfly.together.endpoints_v2 import EndpointsV2  # noqa: PLC0415

            plane = with_retries(lambda: EndpointsV2(connection), log=log)
    except CredentialsRefused as refusal:
        # Nothing has been asked for yet.
        raise BadRequest(str(refusal)) from refusal
    try:
        yield plane
    finally:
        plane.close()
