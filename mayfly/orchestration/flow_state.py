"""React to cancel, suspend and pause of a run in Prefect.

Prefect changes the run's state at once, but interrupts only processes of a worker or of `serve`,
and only on a cancel: a suspended run would continue to send requests, and bill, until the end of
its shards. So every run polls its own state. When that is no longer Running, the main thread is
interrupted as by Ctrl-C: it stops sending, and stops and deletes the endpoint.

A paused run of a deployment is then suspended: its process ends, and Resume starts another one,
which continues with the remaining rows. (A pause would keep the process, but Prefect ends a process
under a concurrency limit 225 s after its slot was released.) An ad-hoc run waits for Resume in its
process.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn, TypeVar
from uuid import UUID

from prefect import runtime
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import Abort, Pause
from prefect.states import Cancelled, Suspended

from mayfly.models.errors import MayflyError, TerminalError
from mayfly.orchestration.record import is_recorded
from mayfly.runs.handle import RunHandle
from mayfly.signals import interrupt_outside_imports

R = TypeVar("R")

POLL_S = 2.0
"""Interval at which a paused run checks whether it was resumed."""

APPROVAL_KEY = "approval"
"""Key of the pause for approval: it has no endpoint, and is not interrupted."""

RESUME_WITHIN_S = 7 * 86_400.0
"""Default time for which a suspended run can be resumed, in seconds."""


class StateLeftRunning(KeyboardInterrupt):
    """The run was suspended, paused or cancelled in Prefect; raised in the main thread.

    Attributes:
        state: The new state.
    """

    def __init__(self, state: State) -> None:
        super().__init__(f"the run is {state.name} in Prefect")
        self.state = state


@contextmanager
def observe_state(handle: RunHandle, *, every_s: float) -> Iterator[None]:
    """Interrupt the main thread when the flow run of this context is no longer Running.

    Outside the main thread, and without a Prefect record, this does nothing.

    Args:
        handle: The run's handle, which records a cancel.
        every_s: Interval of the polls in seconds.
    """
    run = runtime.flow_run.id
    main = threading.main_thread()
    if not is_recorded() or not run or threading.current_thread() is not main:
        yield
        return
    over, sending = threading.Event(), threading.Lock()
    seen: list[State] = []
    of_worker = bool(runtime.deployment.id)

    def interrupt(number: int, frame: FrameType | None) -> None:
        with suppress(KeyboardInterrupt):
            interrupt_outside_imports(number, frame)
            return
        over.set()
        raise StateLeftRunning(seen[-1])

    def observe() -> None:
        while not over.wait(every_s):
            # Ignore an unreachable server.
            with suppress(Exception):
                state = read_state(UUID(run))
                if not must_end(state, of_worker=of_worker) or over.is_set():
                    continue
                if not seen:
                    handle.progress.log(
                        f"{state.name} in Prefect: stopping, and deleting the endpoint"
                    )
                seen.append(state)
                handle.cancelled = handle.cancelled or state.is_cancelling() or state.is_cancelled()
                with sending:
                    if not over.is_set():
                        # Repeat it at each poll, because it is ignored during a teardown.
                        signal.pthread_kill(main.ident or 0, signal.SIGUSR2)

    before = signal.signal(signal.SIGUSR2, interrupt)
    threading.Thread(target=observe, name="state observer", daemon=True).start()
    try:
        yield
    finally:
        # An unhandled signal would end the process.
        with sending:
            over.set()
        signal.signal(signal.SIGUSR2, before)


def must_end(state: State, *, of_worker: bool) -> bool:
    """Return whether a state requires the run to stop.

    On the cancel of a worker's run, the worker sends SIGTERM itself.
    """
    if state.is_paused():
        return not (state.state_details.pause_key or "").startswith(APPROVAL_KEY)
    return not of_worker and (state.is_cancelling() or state.is_cancelled())


def read_state(run: UUID) -> State:
    """Return a flow run's state.

    Raises:
        TerminalError: It has none.
    """
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(run).state
    if state is None:
        raise TerminalError(f"flow run {run} has no state")
    return state


def resumable(body: Callable[[], R], *, log: Callable[[str], None]) -> R:
    """Call a flow's body; repeat it each time it was paused and resumed in its process.

    Raises:
        Pause: The run is suspended: its process ends, and Resume starts another.
        KeyboardInterrupt: The run was cancelled.
    """
    while True:
        try:
            return body()
        except StateLeftRunning as left:
            state = left.state
        except (Pause, Abort):
            # Prefect's engine has noticed it first.
            raise
        except MayflyError:
            raise
        except Exception:
            # A task of a suspended run may end with various errors.
            found = _paused_state()
            if found is None:
                raise
            state = found
        if not state.is_paused():
            raise KeyboardInterrupt
        run = UUID(runtime.flow_run.id)
        if runtime.deployment.id:
            _suspend(run, state)
        await_resume(run, log=log)


def _paused_state() -> State | None:
    with suppress(Exception):
        if is_recorded() and (state := read_state(UUID(runtime.flow_run.id))).is_paused():
            return state
    return None


def _suspend(run: UUID, state: State) -> NoReturn:
    """Suspend the run and end this process."""
    if not state.state_details.pause_reschedule:
        until = state.state_details.pause_timeout
        suspended: State = Suspended(
            message="paused; the endpoint was deleted; Resume continues in a new process",
            pause_expiration_time=until,
            timeout_seconds=None if until else round(RESUME_WITHIN_S),
            pause_key=f"suspended-{time.time_ns()}",
        )
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(run, suspended, force=True)
        state = suspended
    raise Pause(state=state)


def await_resume(
    run: UUID,
    *,
    log: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Wait until a paused ad-hoc run is Running again.

    Raises:
        KeyboardInterrupt: It was cancelled or ended instead.
    """
    log("paused in Prefect; billing has ended; waiting for Resume")
    while True:
        with suppress(Exception):
            state = read_state(run)
            if state.is_running():
                log("resumed")
                return
            if not state.is_paused():
                raise KeyboardInterrupt
        sleep(POLL_S)


def record_cancel(run: UUID) -> None:
    """Set a flow run's state to Cancelled."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run, Cancelled(), force=True)
