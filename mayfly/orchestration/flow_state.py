"""Heed what people do to a run in Prefect: cancel, suspend and pause it.

Prefect changes the run's state at once and interrupts only what a worker or `serve` has started,
and that only for a cancel: the requests of a suspended run would go on, and bill, to the end of its
shards. So every run observes its own state, and when it is no longer Running the main thread is
interrupted as by Ctrl-C: it stops sending, stops and deletes the endpoint.

A run of a deployment that was paused is then suspended: its process ends, and Resume starts
another one, which goes on from what was answered. (A pause would keep the process, but Prefect ends
a process under a concurrency limit 225 s after its slot was given back.) An ad-hoc run waits for
Resume in its process.
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
"""How often a paused run asks whether it was resumed."""

APPROVAL_KEY = "approval"
"""Key of the pause that asks for approval: it holds no endpoint, and is not interrupted."""

RESUME_WITHIN_S = 7 * 86_400.0
"""How long a run that was suspended may be resumed, where nobody has said."""


class LeftRunning(KeyboardInterrupt):
    """The run was suspended, paused or cancelled in Prefect; raised in the main thread.

    Attributes:
        state: What Prefect says.
    """

    def __init__(self, state: State) -> None:
        super().__init__(f"the run is {state.name} in Prefect")
        self.state = state


@contextmanager
def observe_state(handle: RunHandle, *, every_s: float) -> Iterator[None]:
    """Interrupt the main thread when the flow run of this context has left Running.

    Outside the main thread, and where Prefect has no record, this does nothing.

    Args:
        handle: Of the run; it is told of a cancel.
        every_s: How often Prefect is asked.
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
        raise LeftRunning(seen[-1])

    def observe() -> None:
        while not over.wait(every_s):
            # A server that is away says nothing about the run.
            with suppress(Exception):
                state = read_state(UUID(run))
                if not has_left(state, of_worker=of_worker) or over.is_set():
                    continue
                if not seen:
                    handle.progress.log(
                        f"{state.name} in Prefect: sending nothing more, deleting the endpoint"
                    )
                seen.append(state)
                handle.cancelled = handle.cancelled or state.is_cancelling() or state.is_cancelled()
                with sending:
                    if not over.is_set():
                        # Again each time: during a teardown it is ignored.
                        signal.pthread_kill(main.ident or 0, signal.SIGUSR2)

    before = signal.signal(signal.SIGUSR2, interrupt)
    threading.Thread(target=observe, name="state observer", daemon=True).start()
    try:
        yield
    finally:
        # A signal that nobody handles any more would end the process.
        with sending:
            over.set()
        signal.signal(signal.SIGUSR2, before)


def has_left(state: State, *, of_worker: bool) -> bool:
    """Whether a state asks the run to end what it does.

    The cancel of a worker's run is the worker's to carry out, which sends SIGTERM.
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
    """Call a flow's body; again after each time that it was paused and resumed in its process.

    Raises:
        Pause: The run is suspended: its process ends, and Resume starts another.
        KeyboardInterrupt: It was cancelled.
    """
    while True:
        try:
            return body()
        except LeftRunning as left:
            state = left.state
        except (Pause, Abort):
            # Prefect's own engine has seen it first.
            raise
        except MayflyError:
            raise
        except Exception:
            # So does a task of a suspended run end, in one of several ways.
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
    """End this process; leave the run suspended."""
    if not state.state_details.pause_reschedule:
        until = state.state_details.pause_timeout
        suspended: State = Suspended(
            message="paused; the endpoint is deleted, and Resume goes on in a new process",
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
        KeyboardInterrupt: It was cancelled, or ended, instead.
    """
    log("paused in Prefect; nothing bills; waiting for Resume")
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
    """Say in Prefect that a run has ended because it was cancelled."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run, Cancelled(), force=True)
