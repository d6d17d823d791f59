"""Parse request bodies and queries strictly: unknown fields and wrong types are rejected."""

import math
import re
from collections.abc import Collection, Mapping
from typing import Any

from together_emulator.http.errors import ApiError, bad_request

_NAMES = {
    "endpoint": (
        re.compile(r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$"),
        "1-63 lower-case letters, digits or '-', not beginning or ending with '-'",
    ),
    "deployment": (
        re.compile(r"^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?$"),
        "1-128 letters, digits, '-', '_' or '.', beginning and ending with a letter or digit",
    ),
}
_DURATION = re.compile(r"^(?P<number>\d+(?:\.\d+)?)(?P<unit>ms|s|m|h|d)$")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def only(given: Collection[str], known: Collection[str], what: str) -> None:
    """Reject (400) unknown names."""
    for name in given:
        if name not in known:
            raise bad_request(f"unknown {what} {name!r}", param=name, code="unknown_field")


def wrong(name: str, expected: str, value: object) -> ApiError:
    """Return the 400 for a value of the wrong type or range."""
    return bad_request(f"{name} must be {expected}, got {_short(value)}", param=name)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def text(body: Mapping[str, Any], name: str) -> str | None:
    """Read a non-empty string; None if the field is missing."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise wrong(name, "a non-empty string", value)
    return value


def choice(body: Mapping[str, Any], name: str, allowed: Collection[str]) -> str | None:
    """Read one of the allowed strings; None if the field is missing."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or value not in allowed:
        raise wrong(name, f"one of {', '.join(allowed)}", value)
    return value


def integer(body: Mapping[str, Any], name: str, *, least: int = 0, most: int = 2**53) -> int | None:
    """Read an integer in a range, or None; int64s may be strings in this API."""
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,18}", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise wrong(name, f"an integer between {least} and {most}", body[name])
    return value


def number(
    body: Mapping[str, Any], name: str, *, least: float, most: float = math.inf
) -> float | None:
    """Read a finite number in a range, or None."""
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise wrong(name, "a finite number", value)
    if not least <= value <= most:
        raise wrong(name, f"between {least:g} and {most:g}", value)
    return float(value)


def mapping(body: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """Read an object, or None."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, dict):
        raise wrong(name, "an object", value)
    return value


def flag(query: Mapping[str, str], name: str) -> bool:
    """Read a boolean from a query; false if it is missing."""
    value = query.get(name, "false")
    if value not in ("true", "false"):
        raise wrong(name, "true or false", value)
    return value == "true"


def duration_s(body: Mapping[str, Any], name: str) -> float | None:
    """Read a duration such as `600s` or `5m`, in seconds, or None."""
    value = body.get(name)
    if value is None:
        return None
    match = _DURATION.match(value) if isinstance(value, str) else None
    if match is None:
        raise wrong(name, "a duration such as '600s' or '5m'", value)
    return float(match["number"]) * _UNIT_S[match["unit"]]


def bare_name(value: str, *qualifiers: str, kind: str) -> str:
    """Read a name, bare or with its `<slug>/` (and `<endpoint>/`) in front (400).

    An endpoint's name is a DNS label. A deployment's name may be derived from a model's name by the
    official command line, such as `Qwen-Qwen2.5-7B-Instruct-4d1a9625`. The real grammars are not
    published; these are the strictest ones that match all examples.

    Args:
        kind: `endpoint` or `deployment`.
    """
    grammar, rule = _NAMES[kind]
    *front, bare = value.split("/")
    if front and tuple(front) != qualifiers:
        raise bad_request(
            f"{kind} name {value!r} must be bare or begin with {'/'.join(qualifiers)!r}",
            param="name",
        )
    if not grammar.match(bare):
        raise bad_request(f"invalid {kind} name {bare!r}: {rule}", param="name")
    return bare


def masked(mask: str | None, body: Mapping[str, Any], fields: Collection[str]) -> list[str]:
    """Return the fields that an update changes (400 if there are none).

    Without a mask these are the fields set in the body, except empty lists.

    Args:
        mask: The query's `updateMask`: comma-separated paths in camelCase.
    """
    if mask is None:
        named = [f for f in fields if f in body and body[f] is not None and body[f] != []]
    else:
        named = []
        for path in mask.split(","):
            top = path.strip().split(".")[0]
            if top not in fields:
                raise bad_request(f"unknown updateMask path {path!r}", param="updateMask")
            if top not in named:
                named.append(top)
    if not named:
        raise bad_request("no fields to update", param="updateMask")
    return named
