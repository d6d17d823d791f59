"""Heed a cancel of an ad-hoc run: Prefect interrupts only what a worker or `serve` has started.

A run that was started by hand goes on when somebody cancels it in the UI, and its endpoint bills
on. So such a run looks at its own state now and then.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import UUID

from prefect import runtime
from prefect.client.orchestration import get_client
from prefect.states import Cancelled

from mayfly.runs.handle import RunHandle


@contextmanager
def watch_for_cancel(handle: RunHandle, *, every_s: float) -> Iterator[None]:
    """Interrupt the main thread, as Ctrl-C does, when the flow run of this context is cancelled.

    A run of a deployment is left to its worker, and one outside the main thread to itself.

    Args:
        handle: Of the run; it is told of the cancel.
        every_s: How often Prefect is asked.
    """
    run = runtime.flow_run.id
    main = threading.main_thread()
    if not run or runtime.deployment.id or threading.current_thread() is not main:
        yield
        return
    over = threading.Event()

    def look() -> None:
        while not over.wait(every_s):
            # A server that is away is no cancel.
            with suppress(Exception):
                if is_cancelled(run) and not over.is_set():
                    handle.cancelled = True
                    handle.progress.say("cancelled in Prefect: ending")
                    signal.pthread_kill(main.ident or 0, signal.SIGINT)
                    return

    threading.Thread(target=look, name="cancel watch", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def is_cancelled(run: str) -> bool:
    """Ask Prefect whether a flow run is to end."""
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(UUID(run)).state
    return state is not None and (state.is_cancelled() or state.is_cancelling())


def record_cancel(run: UUID) -> None:
    """Say in Prefect that a run has ended because it was cancelled."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run, Cancelled(), force=True)
