"""Attach a run's handle to the flow object that Prefect runs.

Prefect stores and validates a flow's parameters, so a confirmed plan and the progress of a run
cannot be parameters. Each call of a flow runs a copy of it with its own handle: two runs in one
process share nothing, and a hook, which receives the flow, finds the handle of its run.
"""

from typing import Any, ParamSpec, TypeVar

from prefect import Flow
from prefect.context import FlowRunContext
from prefect.settings import temporary_settings

from mayfly.models.errors import TerminalError
from mayfly.runs.handle import RunHandle

P = ParamSpec("P")
R = TypeVar("R")


class RunFlow(Flow[P, R]):
    """A flow whose runs each have a handle.

    Attributes:
        handle: Handle of this copy's run; None on the defined flow.
    """

    handle: RunHandle | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the flow, or a copy with a new handle if it has none.

        It gets its own copy of Prefect's settings, since a run may change them.
        """
        if self.handle is None:
            return self.with_handle(RunHandle())(*args, **kwargs)
        with temporary_settings():
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
    """Return a flow whose runs each have a handle; a decorator above `@flow`."""
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
        # The run of a deployment: Prefect has loaded the flow in a separate process.
        flow.handle = RunHandle()
    return flow.handle


def handle_of(flow: Flow[..., Any]) -> RunHandle | None:
    """Return the handle of a flow's run, for a hook; None where it ran in another process."""
    return flow.handle if isinstance(flow, RunFlow) else None
