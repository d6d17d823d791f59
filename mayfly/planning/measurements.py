"""What a finished run teaches the next one."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from mayfly.models.rows import MOST_TOKENS


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """The lesson of one finished run: what it asked, on what, how fast, for how much.

    Attributes:
        ask: 10 hex digits of prompt and sampling; equal for runs that asked the same.
        answered: Rows answered by this run.
        token_ratio: Prompt tokens that the API counted for each token guessed from characters;
            0 when that is not known.
        work_per_s: Work (see `mayfly.planning.throughput`) of one replica in a second while it
            was busy; 0 when the run was too short to tell.
        rows_per_s: Rows answered in a second by one replica while it was busy.
        in_flight: Requests in flight on one replica then.
        settled_limit: Requests in flight on one replica at which the adaptive limit has settled; 0
            when it has not.
        cold_start_s: From the create to READY; 0 when not seen.
        drain_s: From the stop to stopped; 0 when not seen.
    """

    provider: str = ""
    model: str = ""
    hardware: str = ""
    ask: str = ""
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
        return asdict(self)

    @classmethod
    def read(cls, value: Any) -> Self | None:
        """Read what `as_dict` wrote, passing over what is not known; None when it is none."""
        if not isinstance(value, Mapping):
            return None
        known: dict[str, Any] = {}
        for field in fields(cls):
            given = value.get(field.name, field.default)
            if not (isinstance(given, str) if field.type is str else _is_figure(given)):
                return None
            known[field.name] = given
        found = cls(**known)
        return found if found._can_be() else None

    def _can_be(self) -> bool:
        """Whether the counts are of so many answers at all.

        One that a server made up, such as 1e20, would decide every later plan.
        """
        most = MOST_TOKENS * max(1, self.answered)
        return self.prompt_tokens <= most and self.completion_tokens <= most


def _is_figure(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and value >= 0


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def measurements(records: Iterable[Mapping[str, Any]], provider: str) -> list[Measurement]:
    """Return what the runs with one provider teach, oldest first.

    Args:
        records: Of the history; a run on several endpoints has several lessons.
    """
    return [
        past
        for record in records
        for measurement in _listed(record.get("lessons"))
        if (past := Measurement.read(measurement)) is not None and past.provider == provider
    ]
