"""Suggestions for a model name that does not exist."""

import difflib
from collections.abc import Iterable

from mayfly.models.errors import BadRequest

_MOST = 5
_NEAR = 0.72
"""Minimum difflib ratio of similar names; unrelated names of one publisher are below it."""


def near_names(wanted: str, names: Iterable[str]) -> list[str]:
    """Return similar names, the nearest first; compared with and without the publisher."""
    scores: dict[str, float] = {}
    for name in names:
        pairs = ((wanted, name), (_bare(wanted), _bare(name)))
        ratio = max(
            difflib.SequenceMatcher(None, left.lower(), right.lower()).ratio()
            for left, right in pairs
        )
        if ratio >= _NEAR or (len(_bare(wanted)) > 3 and _bare(wanted).lower() in name.lower()):
            scores[name] = ratio
    return sorted(scores, key=lambda name: (-scores[name], name))[:_MOST]


def unknown_model(wanted: str, names: Iterable[str]) -> BadRequest:
    """Return the error for a model that does not exist, with similar names."""
    near = near_names(wanted, names)
    then = (
        f"did you mean {', '.join(near)}?"
        if near
        else "`mayfly models` lists all, and with --mine those of your project"
    )
    return BadRequest(f"--model {wanted}: no model has this name; {then}")


def _bare(name: str) -> str:
    return name.rsplit("/", 1)[-1]
