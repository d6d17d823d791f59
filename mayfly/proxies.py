"""Select the proxy of a URL from the environment, with httpx's semantics.

The control plane uses the SDK's httpx client and inference uses mayfly's own transport; both have
to select the same proxy. Loopback is never reached through a proxy.

`NO_PROXY` may hold networks, such as 10.0.0.0/8 or fd00::/8. httpx matches only their first
address, and fails with IPv6 networks; here they match as networks.

Source: httpx 0.28, `get_environment_proxies` and `URLPattern`.
"""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from mayfly.models.errors import BadRequest

_ANY = "all://"


class _Rule(NamedTuple):
    """URLs that a proxy, or no proxy, applies to; empty fields match everything."""

    scheme: str
    host: str
    port: int | None
    proxy: str | None
    network: ipaddress.IPv4Network | ipaddress.IPv6Network | None = None

    def matches(self, scheme: str, host: str, port: int | None) -> bool:
        if self.scheme not in ("", scheme) or (self.port is not None and self.port != port):
            return False
        if self.network is not None:
            address = _address(host)
            return address is not None and address in self.network
        if self.host in ("", "*"):
            return True
        name = re.escape(self.host.removeprefix("*").removeprefix("."))
        if self.host.startswith("*."):
            return re.fullmatch(rf".+\.{name}", host) is not None
        if self.host.startswith("*"):
            return re.fullmatch(rf"(.+\.)?{name}", host) is not None
        return host == self.host

    @property
    def rank(self) -> tuple[int, int, int]:
        return (self.port is None, -len(self.host), -len(self.scheme))


def proxy_for(url: str, proxies: Mapping[str, str]) -> str | None:
    """Return the URL of the proxy for a URL, or None for a direct connection.

    Args:
        proxies: By scheme, `all` and `no`, as `urllib.request.getproxies` returns them.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    if is_loopback(host):
        return None
    for rule in sorted(_rules(proxies), key=lambda rule: rule.rank):
        if rule.matches(parts.scheme, host, parts.port):
            return rule.proxy
    return None


def usable_proxy_for(url: str, proxies: Mapping[str, str]) -> str | None:
    """Return the proxy for a URL, as `proxy_for`.

    Raises:
        BadRequest: It is of a kind that is not supported; the message shows no password.
    """
    proxy = proxy_for(url, proxies)
    if proxy is None:
        return None
    scheme = urlsplit(proxy).scheme.lower()
    if scheme not in ("http", "https"):
        raise BadRequest(
            f"proxy {without_password(proxy)}: {scheme} proxies are not supported; set HTTPS_PROXY "
            f"to an http:// proxy, or add {urlsplit(url).hostname} to NO_PROXY"
        )
    try:
        port = urlsplit(proxy).port
    except ValueError:
        port = 0
    if not urlsplit(proxy).hostname or port == 0:
        raise BadRequest(
            f"proxy {without_password(proxy)} is not a URL; write http://host:port in HTTPS_PROXY"
        )
    return proxy


def without_password(url: str) -> str:
    """Return a URL without the user and the password that it may hold."""
    scheme, separator, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}{separator}{authority.rpartition('@')[2]}{slash}{path}"


def is_loopback(host: str) -> bool:
    """Return whether a host name or an address is this machine's loopback."""
    if host.lower() == "localhost" or host.lower().endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def readable_by_httpx(entry: str) -> str:
    """Return an entry of `NO_PROXY` so that httpx can read it, and we read the same in it.

    httpx 0.28 raises `InvalidURL` for a network of IPv6, whatever is asked for.
    """
    network = _network(entry) if "/" in entry and "://" not in entry else None
    if network is None or network.version == 4:
        return entry
    return f"{_ANY}[{network.network_address}]/{network.prefixlen}"


def _rules(proxies: Mapping[str, str]) -> Iterator[_Rule]:
    excluded = [host.strip() for host in proxies.get("no", "").split(",")]
    if "*" in excluded:
        return
    for scheme in ("http", "https", "all"):
        if proxy := proxies.get(scheme):
            url = proxy if "://" in proxy else f"http://{proxy}"
            yield _Rule("" if scheme == "all" else scheme, "", None, url)
    for entry in filter(None, excluded):
        bare = entry.removeprefix(_ANY).replace("[", "").replace("]", "")
        if "/" in bare and (network := _network(bare)) is not None:
            yield _Rule("", entry, None, None, network)
            continue
        if "://" in entry:
            pattern = entry
        elif (address := _address(entry)) is not None:
            pattern = f"all://[{entry}]" if address.version == 6 else f"all://{entry}"
        elif entry.lower() == "localhost":
            pattern = f"all://{entry}"
        else:
            pattern = f"all://*{entry}"
        try:
            parts = urlsplit(pattern)
            scheme = "" if parts.scheme == "all" else parts.scheme
            yield _Rule(scheme, (parts.hostname or "").lower(), parts.port, None)
        except ValueError:
            continue  # No host at all: it excludes nothing.


def _network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return None


def _address(entry: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(entry)
    except ValueError:
        return None
