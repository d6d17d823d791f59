"""Names that are near a wrong one: what a person may have meant, and nothing else."""

import difflib
from collections.abc import Iterable

from mayfly.models.errors import BadRequest

_MOST = 5
_NEAR = 0.72
"""difflib's ratio above which two names are near; unrelated names of one publisher are below."""


def near_names(wanted: str, names: Iterable[str]) -> list[str]:
    """Return the names near a wrong one, the nearest first: as a whole, or without publisher."""
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
    """Return the refusal of a model that does not exist, with the names that are near."""
    near = near_names(wanted, names)
    then = (
        f"did you mean {', '.join(near)}?"
        if near
        else "`mayfly models` lists all, and with --mine those of your project"
    )
    return BadRequest(f"--model {wanted}: no model has this name; {then}")


def _bare(name: str) -> str:
    return name.rsplit("/", 1)[-1]
