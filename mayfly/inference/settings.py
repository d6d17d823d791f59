"""Settings of the engine: where requests go, and what it may do."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mayfly.backoff import Backoff


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where requests go; the headers hold the key and show in no repr."""

    url: str
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """What the engine may do.

    Attributes:
        concurrency: Requests in flight; None finds a number.
        first_limit: Where finding begins.
        row_attempts: Failed requests for one row, at most; refused load does not count.
        row_timeout_s: Longest wait for one answer, in seconds; None derives it from what is
            measured.
        max_tokens: The longest answer, in tokens, if the job bounds it.
        lost_after_s: How long an endpoint that cannot be reached is waited for, in seconds.
        refused_for_s: How long nothing but refused load is waited for, and how long one row is,
            in seconds.
        fatal_in_a_row: Rows that must meet the same fatal answer before the run ends.
        proven: Whether rows of this job were answered before; see `CircuitBreaker`.
    """

    concurrency: int | None = None
    first_limit: int = 64
    row_attempts: int = 6
    row_timeout_s: float | None = None
    max_tokens: int | None = None
    lost_after_s: float = 120.0
    refused_for_s: float = 600.0
    fatal_in_a_row: int = 8
    proven: bool = False
    backoff: Backoff = field(default_factory=Backoff)
