"""Revisions of a project's own model: each upload or training run creates one."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """An immutable revision of a model's files.

    Attributes:
        label: Distinguishes the revisions of one model; ids are derived from it.
        valid: Whether the platform's validation has passed; otherwise it cannot be deployed.
    """

    label: str
    valid: bool = True
