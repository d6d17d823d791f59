"""The proof of a teardown: what was done, when, by which line of defence."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self

Line = Literal["finally", "hook", "guardian", "sweep", "by hand"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TeardownProof:
    """Evidence that an endpoint has ended. All times are Unix seconds.

    Attributes:
        name: The endpoint's.
        line: Which line of defence did it.
        stop_requested_at: When the API took the stop, or None when nothing was running.
        stopped_at: When the API first said that nothing runs: billing had ended by then.
        gone_at: When a read answered 404; None when it was only stopped.
        not_found_read_back: Whether the API itself has said that there is no such endpoint.
        steps: What was done, in words, in order.
    """

    name: str
    line: Line
    started_at: float
    stop_requested_at: float | None = None
    stopped_at: float | None = None
    gone_at: float | None = None
    not_found_read_back: bool = False
    steps: tuple[str, ...] = ()

    def followed_by(self, later: "TeardownProof") -> Self:
        """Return one proof for two parts of a teardown: the stop, then the deletion."""
        return replace(
            self,
            stop_requested_at=self.stop_requested_at or later.stop_requested_at,
            stopped_at=self.stopped_at or later.stopped_at,
            gone_at=later.gone_at,
            not_found_read_back=later.not_found_read_back,
            steps=tuple(dict.fromkeys((*self.steps, *later.steps))),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**asdict(self), "steps": list(self.steps)}
