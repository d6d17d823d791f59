"""Settings of the engine: the target of requests, and limits."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mayfly.backoff import Backoff


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The target of requests; the repr does not show the headers, which hold the key."""

    url: str
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """Limits and timeouts of the engine.

    Attributes:
        concurrency: Requests in flight; None for an adaptive limit.
        first_limit: Expected limit at which the search starts.
        row_attempts: Maximum failed requests per row; refused load does not count.
        row_timeout_s: Timeout of one request in seconds; None derives it from measurements.
        max_tokens: Maximum tokens of an answer, if the job limits them.
        lost_after_s: How long to wait for an unreachable endpoint, in seconds.
        refused_for_s: How long to wait while all load is refused, and how long per row, in
            seconds.
        refused_alone_s: How long to wait per row that is refused while others are answered, in
            seconds.
        fatal_in_a_row: Consecutive rows with a fatal response after which the run ends.
        proven: Whether rows of this job were answered before; see `CircuitBreaker`.
    """

    concurrency: int | None = None
    first_limit: int = 64
    row_attempts: int = 6
    row_timeout_s: float | None = None
    max_tokens: int | None = None
    lost_after_s: float = 120.0
    refused_for_s: float = 600.0
    refused_alone_s: float = 120.0
    fatal_in_a_row: int = 8
    proven: bool = False
    backoff: Backoff = field(default_factory=Backoff)
