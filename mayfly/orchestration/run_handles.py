"""The handle of a run, carried by the flow object that Prefect runs.

A flow's parameters are what Prefect stores and validates; a plan that was confirmed and the way to
watch a run are neither. Each call of a flow runs a copy of it with a handle of its own: two runs in
one process share nothing, and a hook, which is given the flow, finds what belongs to its run.
"""

from typing import Any, ParamSpec, TypeVar

from prefect import Flow
from prefect.context import FlowRunContext

from mayfly.models.errors import TerminalError
from mayfly.runs.handle import RunHandle

P = ParamSpec("P")
R = TypeVar("R")


class RunFlow(Flow[P, R]):
    """A flow whose every run has a handle.

    Attributes:
        handle: Of the run of this copy; None on the flow that is only defined.
    """

    handle: RunHandle | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the flow, a copy of it where it has no handle yet."""
        if self.handle is None:
            return self.with_handle(RunHandle())(*args, **kwargs)
        return super().__call__(*args, **kwargs)

    def with_options(self, *args: Any, **kwargs: Any) -> "RunFlow[P, R]":
        """Return a copy with other options."""
        return with_handles(super().with_options(*args, **kwargs))

    def with_handle(self, handle: RunHandle) -> "RunFlow[P, R]":
        """Return a copy whose run uses this handle."""
        copied = with_handles(self)
        copied.handle = handle
        return copied


def with_handles(flow: Flow[P, R]) -> RunFlow[P, R]:
    """Return a flow as one whose every run has a handle; a decorator above `@flow`."""
    copied: RunFlow[P, R] = RunFlow.__new__(RunFlow)
    copied.__dict__.update(vars(flow))
    return copied


def current_handle() -> RunHandle:
    """Return the handle of the flow run that this code is in."""
    context = FlowRunContext.get()
    flow = None if context is None else context.flow
    if not isinstance(flow, RunFlow):
        raise TerminalError("this is not in a run of a flow that has handles")
    if flow.handle is None:
        # A deployment's run: Prefect has loaded the flow for it, in a process of its own.
        flow.handle = RunHandle()
    return flow.handle


def handle_of(flow: Flow[..., Any]) -> RunHandle | None:
    """Return the handle of a flow's run, for a hook; None where it ran in another process."""
    return flow.handle if isinstance(flow, RunFlow) else None
