"""What whoever begins a run keeps of it: the way to watch it, and to know how it was ended."""

from dataclasses import dataclass, field

from mayfly.models.errors import TerminalError
from mayfly.models.job import Job
from mayfly.planning.plan import Plan
from mayfly.planning.preview import JobPreview
from mayfly.reporting.progress import Progress
from mayfly.runs.environment import Environment


@dataclass(slots=True, kw_only=True)
class RunHandle:
    """One run, seen from outside; it belongs to that run alone.

    Attributes:
        environment: What the run uses; None for what its own process finds at its edge.
        plan: What a person has confirmed, and so exactly what runs; None lets the run plan.
        broken_off: What a teardown that was broken off has left, in words: what comes after it is
            to be quick.
        cancelled: Whether the run ends because it was cancelled in Prefect.
    """

    environment: Environment | None = None
    plan: Plan | None = None
    progress: Progress = field(default_factory=Progress)
    broken_off: str | None = None
    cancelled: bool = False

    def preview_of(self, job: Job) -> JobPreview | None:
        """Return the preview that the plan was made from, if there is a plan.

        Raises:
            TerminalError: The plan is of another job.
        """
        if self.plan is None:
            return None
        if self.plan.preview.job != job:
            raise TerminalError(
                "the plan that was confirmed is of another job; nothing was created"
            )
        return self.plan.preview

    def note_broken_off(self, left: str) -> None:
        """Take note that a teardown was broken off, and what it has left."""
        self.broken_off = left
