"""Mask credentials in URIs wherever they are shown, stored or sent.

A job, a manifest, a report and Prefect have the masked URI only. The real one is in a variable of
the process's environment, with a name derived from the masked one, which worker processes inherit.
"""

import hashlib
import os
import re
from collections.abc import Mapping, MutableMapping

ENVIRON: Mapping[str, str] = os.environ
"""The environment of this process; storage reads it here alone and never writes it.

It is not passed down from the edge. fsspec, botocore, gcsfs and adlfs read their credentials from
`os.environ` themselves, in the process that opens the file; that may be a worker, and a mapping
that went there with the dataset would be pickled with every secret in it."""

MASK = "***"
LONG_VALUE = 24
"""A query value of at least this length without a dot is assumed to be a credential."""

_USER = re.compile(r"(?<=://)([^/@\s:?#]*):([^/@\s?#]+)(?=@)|(?<=://)([^/@\s:?#]{16,})(?=@)")
_SECRET_NAME = re.compile(
    r"sig|signature|token|secret|passw|pwd|credential|auth|key|x-amz-|x-goog-|session",
    re.IGNORECASE,
)
_PAIR = re.compile(r"([?&])([^=&#]+)=([^&#]+)")


def masked(uri: str) -> str:
    """Return a URI without its passwords, signatures and keys."""
    if "://" not in uri:
        return uri
    shown = _USER.sub(_user, uri)
    return _PAIR.sub(_pair, shown)


def conceal(uri: str, environ: MutableMapping[str, str]) -> str:
    """Return the masked URI, and store the real one in the environment if it differs."""
    shown = masked(uri)
    if shown != uri:
        environ[_name(shown)] = uri
    return shown


def revealed(uri: str, environ: Mapping[str, str]) -> str:
    """Return the real URI of a masked one; unchanged if it is not masked."""
    return environ.get(_name(uri), uri) if MASK in uri else uri


def reveal_in(path: str, uri: str, environ: Mapping[str, str]) -> str:
    """Return a path below a masked URI with the credentials of the real one."""
    real = revealed(uri, environ)
    if real == uri:
        return path
    for pattern in (_USER, _PAIR):
        for mine, theirs in zip(pattern.finditer(real), pattern.finditer(uri), strict=False):
            path = path.replace(theirs.group(0), mine.group(0), 1)
    return path


def hide_in(text: str, uri: str, environ: Mapping[str, str]) -> str:
    """Return a text, such as a library's error, without the credentials of a masked URI."""
    real = revealed(uri, environ)
    if real == uri:
        return text
    secrets = [
        part
        for found in [*_USER.finditer(real), *_PAIR.finditer(real)]
        for part in found.groups()[1:]
        if part and part not in uri
    ]
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text


def _user(found: re.Match[str]) -> str:
    return f"{found.group(1)}:{MASK}" if found.group(2) is not None else MASK


def _pair(found: re.Match[str]) -> str:
    before, name, value = found.groups()
    secret = _SECRET_NAME.search(name) or (len(value) >= LONG_VALUE and "." not in value)
    return f"{before}{name}={MASK}" if secret else found.group(0)


def _name(shown: str) -> str:
    return "MAYFLY_URI_" + hashlib.sha256(shown.encode()).hexdigest()[:16].upper()
