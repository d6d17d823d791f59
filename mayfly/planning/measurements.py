"""Measurements of finished runs, which the plans of later runs use."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from mayfly.models.rows import MAX_TOKENS

_STORED = {"prompt_key": "ask"}
"""Fields that the history stores under another name, which the first release gave them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What one run measured on one endpoint. The history stores it under `lessons`.

    Attributes:
        prompt_key: 10 hex digits of prompt and sampling; equal for runs with the same prompt.
        answered: Rows answered by this run.
        token_ratio: Prompt tokens counted by the API for each token estimated from characters;
            0 when unknown.
        work_per_s: Work (see `mayfly.planning.throughput`) per second of one busy replica; 0 when
            the run was too short to measure it.
        rows_per_s: Rows answered per second by one busy replica.
        in_flight: Requests in flight on one busy replica.
        settled_limit: Requests in flight on one replica at which the adaptive limit settled; 0
            when it did not.
        cold_start_s: From the create to READY, in seconds; 0 when not measured.
        drain_s: From the stop to stopped, in seconds; 0 when not measured.
    """

    provider: str = ""
    model: str = ""
    hardware: str = ""
    prompt_key: str = ""
    answered: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    token_ratio: float = 0.0
    work_per_s: float = 0.0
    rows_per_s: float = 0.0
    in_flight: float = 0.0
    settled_limit: float = 0.0
    cold_start_s: float = 0.0
    drain_s: float = 0.0

    @property
    def answer_tokens(self) -> float:
        """Completion tokens of one answer, on average."""
        return max(1.0, self.completion_tokens / max(1, self.answered))

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {_STORED.get(name, name): value for name, value in asdict(self).items()}

    @classmethod
    def read(cls, value: Any) -> Self | None:
        """Read what `as_dict` wrote, ignoring unknown keys; return None when it is invalid."""
        if not isinstance(value, Mapping):
            return None
        known: dict[str, Any] = {}
        for field in fields(cls):
            given = value.get(_STORED.get(field.name, field.name), field.default)
            if not (isinstance(given, str) if field.type is str else _is_figure(given)):
                return None
            known[field.name] = given
        found = cls(**known)
        return found if found._is_plausible() else None

    def _is_plausible(self) -> bool:
        """Return whether the token counts are possible for that many answers.

        A bogus count from a server, such as 1e20, would dominate every later plan.
        """
        most = MAX_TOKENS * max(1, self.answered)
        return self.prompt_tokens <= most and self.completion_tokens <= most


def _is_figure(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and value >= 0


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def measurements(records: Iterable[Mapping[str, Any]], provider: str) -> list[Measurement]:
    """Return the measurements of the runs with one provider, oldest first.

    Args:
        records: Records of the history; a run on several endpoints has several measurements.
    """
    return [
        past
        for record in records
        for measurement in _listed(record.get("lessons"))
        if (past := Measurement.read(measurement)) is not None and past.provider == provider
    ]
