"""Choose the transport: our own HTTP/1.1, or reqwest where a proxy is needed."""

from collections.abc import Mapping
from urllib.request import getproxies

from mayfly.inference.transport.base import Transport
from mayfly.proxies import usable_proxy_for


def open_transport(url: str, headers: Mapping[str, str]) -> Transport:
    """Return the transport for a URL; call it on the loop that is to use it.

    Raises:
        BadRequest: The environment names a proxy that cannot be used.
    """
    if (proxy := usable_proxy_for(url, getproxies())) is not None:
        from mayfly.inference.transport.reqwest import RustTransport  # noqa: PLC0415 - seldom needed

        return RustTransport(url, headers, proxy=proxy)
    from mayfly.inference.transport.http1 import Http1Transport  # noqa: PLC0415

    return Http1Transport(url, headers)
