"""Choose the transport: our own HTTP/1.1, or reqwest if a proxy is needed."""

import os
from collections.abc import Mapping
from urllib.request import getproxies

from mayfly.inference.transport.base import Transport
from mayfly.proxies import usable_proxy_for


def open_transport(
    url: str, headers: Mapping[str, str], environ: Mapping[str, str] = os.environ
) -> Transport:
    """Return the transport for a URL; call it on the loop that is to use it.

    The process that sends decides on proxy and certificates, as OpenSSL and `getproxies` do: a
    worker on another machine has its own. So its environment is read here and not at the edge.

    Args:
        environ: Has SSL_CERT_FILE, which only reqwest has to be given.

    Raises:
        BadRequest: The environment names a proxy that cannot be used.
    """
    if (proxy := usable_proxy_for(url, getproxies())) is not None:
        from mayfly.inference.transport.reqwest import RustTransport  # noqa: PLC0415 - seldom needed

        return RustTransport(url, headers, proxy=proxy, ca_file=environ.get("SSL_CERT_FILE", ""))
    from mayfly.inference.transport.http1 import Http1Transport  # noqa: PLC0415

    return Http1Transport(url, headers)
