"""Set up the official SDK: writes are sent once, a time limit for each, no proxy on loopback."""

import ssl
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from mayfly.models.errors import BadRequest
from mayfly.proxies import usable_proxy_for
from mayfly.together.connection import Connection
from mayfly.together.errors import Refused, translated
from mayfly.together.parsing import field, listed, text
from mayfly.together.server_clock import ServerClock


def open_client(connection: Connection, clock: ServerClock) -> Any:
    """Return the SDK's client for a connection; `clock` is set by the API's responses.

    The SDK would retry POST creates without an idempotency key; our callers retry by name instead.

    Raises:
        BadRequest: A proxy or a CA file of the environment cannot be used.
    """
    # Importing the SDK takes half a second, so it is deferred until the API is needed.
    from httpx import InvalidURL  # noqa: PLC0415

    from mayfly.together.bounded_client import BoundedClient  # noqa: PLC0415
    from mayfly.together.sdk import Together  # noqa: PLC0415

    try:
        http_client = BoundedClient(
            total_s=connection.timeout_s,
            host=urlsplit(connection.base_url).hostname or "",
            private_headers=tuple(connection.extra_headers),
            on_date=clock.note,
            **_transport_options(connection),
        )
    except (ImportError, InvalidURL, ValueError) as error:
        raise BadRequest(
            "a proxy that the environment names cannot be used "
            f"({' '.join(str(error).split())}); see HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY"
        ) from error
    except OSError as error:
        raise BadRequest(
            f"SSL_CERT_FILE or SSL_CERT_DIR cannot be used ({error}); name a file of certificates"
        ) from error
    return Together(
        api_key=connection.api_key,
        base_url=connection.base_url,
        project_id=connection.project or None,
        default_headers=dict(connection.extra_headers),
        max_retries=0,
        timeout=connection.timeout_s,
        http_client=http_client,
    )


def _transport_options(connection: Connection) -> dict[str, Any]:
    """Return httpx's options for reaching the API: proxy and certificates.

    Inference uses the same: see `mayfly.proxies`, which also supports networks in NO_PROXY.
    """
    from httpx import HTTPTransport  # noqa: PLC0415

    from mayfly.together.sdk import DEFAULT_CONNECTION_LIMITS  # noqa: PLC0415

    verify = ssl.create_default_context(cafile=connection.ca_file) if connection.ca_file else True
    proxy = usable_proxy_for(connection.base_url, getproxies())
    if proxy is not None:
        return {"proxy": proxy, "verify": verify}
    # With an explicit transport, httpx reads no proxy from the environment.
    if verify is True and urlsplit(connection.base_url).scheme == "http":
        from mayfly.together.bounded_client import TransportAtFirstUse  # noqa: PLC0415

        # Loading the default authorities takes longer than a call. This context trusts none; a
        # redirect to https uses the other transport.
        plain = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        return {
            "transport": HTTPTransport(verify=plain, limits=DEFAULT_CONNECTION_LIMITS),
            "mounts": {"https://": TransportAtFirstUse(HTTPTransport)},
            "verify": plain,
        }
    transport = HTTPTransport(verify=verify, limits=DEFAULT_CONNECTION_LIMITS)
    return {"transport": transport, "verify": verify}


def own_project(client: Any) -> str:
    """Return the id of the one project that the key belongs to.

    Raises:
        BadRequest: It belongs to none or to several; the message names them.
    """
    try:
        with translated("identify the API key"):
            identity = client.whoami()
    except Refused as refusal:
        raise BadRequest(f"{refusal}; set TOGETHER_PROJECT_ID to the project's id") from refusal
    if project := _project(identity):
        return project
    try:
        projects = listed("list projects", client.projects.list)
    except Refused:
        projects = []
    if len(projects) == 1 and (only := text(projects[0], "id")):
        return only
    named = ", ".join(f"{text(p, 'id')} ({text(p, 'name')})" for p in projects[:10])
    raise BadRequest(
        "the API key does not belong to exactly one project; set TOGETHER_PROJECT_ID to "
        + (f"one of: {named}" if named else "the project's id")
    )


def project_of_key(connection: Connection) -> str:
    """Return the id of the project that a key belongs to, or "" if it is not exactly one.

    Raises:
        CredentialsRefused: The key is rejected.
        RetryableError: The API is not available now.
    """
    client = open_client(connection, ServerClock())
    try:
        with translated("identify the API key"):
            identity = client.whoami()
    except Refused:
        # A server other than Together's need not support this.
        return ""
    finally:
        client.close()
    return _project(identity)


def _project(identity: Any) -> str:
    # Nested since SDK version 3, flat before.
    return text(field(identity, "project"), "id") or text(identity, "project_id")
