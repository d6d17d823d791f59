"""A caller's handle on a run: its plan, its progress, and how it ended."""

from dataclasses import dataclass, field

from mayfly.models.errors import TerminalError
from mayfly.models.job import Job
from mayfly.planning.plan import Plan
from mayfly.planning.preview import JobPreview
from mayfly.reporting.progress import Progress
from mayfly.runs.environment import Environment


@dataclass(slots=True, kw_only=True)
class RunHandle:
    """One run as its caller sees it.

    Attributes:
        environment: The environment to use; None to read the process's own.
        plan: The plan that a person confirmed, which is exactly what runs; None lets the run
            plan.
        teardown_aborted: What an aborted teardown left running, for people; what follows must be
            quick.
        cancelled: Whether the run ends because it was cancelled in Prefect.
        started: Whether the flow's body was entered; before that nothing can have been created.
        server_unreachable: Whether its Prefect server did not respond when last checked.
    """

    environment: Environment | None = None
    plan: Plan | None = None
    progress: Progress = field(default_factory=Progress)
    teardown_aborted: str | None = None
    cancelled: bool = False
    started: bool = False
    server_unreachable: bool = False

    def preview_of(self, job: Job) -> JobPreview | None:
        """Return the preview that the plan was made from, if there is a plan.

        Raises:
            TerminalError: The plan is of another job.
        """
        if self.plan is None:
            return None
        if self.plan.preview.job != job:
            raise TerminalError("the confirmed plan belongs to another job; nothing was created")
        return self.plan.preview

    def note_teardown_aborted(self, left: str) -> None:
        """Record that a teardown was aborted, and what it has left running."""
        self.teardown_aborted = left
