"""Revisions of a project's own model: each upload or training run makes another one."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """An immutable revision of a model's files.

    Attributes:
        label: Tells the revisions of one model apart; ids are made from it.
        valid: Whether the platform's validation passed; one that failed cannot be deployed.
    """

    label: str
    valid: bool = True
