"""Mask secrets that a server sends back, before a reply is parsed.

Servers, gateways and proxies quote a request's headers in their errors, the API key included.
"""

from collections.abc import Iterable, Mapping

MASK = "[masked]"

_SHORTEST = 8
"""A shorter value is not masked: it may occur in any text."""

_PUBLIC = frozenset({"user-agent", "accept", "content-type", "accept-encoding", "connection"})


def secrets_of(headers: Mapping[str, str]) -> tuple[bytes, ...]:
    """Return the secret values of a request's headers: the key, and the user's own values."""
    values: list[str] = []
    for name, value in headers.items():
        if name.lower() not in _PUBLIC:
            scheme, _, rest = value.partition(" ")
            values += [rest] if rest and scheme.lower() in ("bearer", "basic") else [value]
    return tuple(value.encode() for value in values if len(value) >= _SHORTEST)


def without_secrets(data: bytes, secrets: Iterable[bytes]) -> bytes:
    """Return bytes with each secret masked; the same object if there is none."""
    for secret in secrets:
        if secret in data:
            data = data.replace(secret, MASK.encode())
    return data
