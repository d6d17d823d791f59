"""Choose the transport: our own HTTP/1.1, or reqwest where a proxy has to be gone through."""

from collections.abc import Mapping
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from mayfly.inference.transport.base import Transport


def open_transport(url: str, headers: Mapping[str, str], *, timeout_s: float) -> Transport:
    """Return the transport for a URL; call it on the loop that is to use it."""
    if needs_proxy(url):
        from mayfly.inference.transport.reqwest import RustTransport  # noqa: PLC0415 - seldom needed

        return RustTransport(url, headers, timeout_s=timeout_s)
    from mayfly.inference.transport.http1 import Http1Transport  # noqa: PLC0415

    return Http1Transport(url, headers, timeout_s=timeout_s)


def needs_proxy(url: str) -> bool:
    """Whether the environment asks for a proxy on the way to a URL."""
    parts = urlsplit(url)
    proxies = getproxies()
    wanted = parts.scheme in proxies or "all" in proxies
    return wanted and not proxy_bypass(parts.hostname or "")
