"""End cleanly on a signal, and defer signals while an endpoint is torn down.

The first Ctrl-C ends the run. A second one, during the teardown, is answered with a message:
aborting a teardown costs money. A third aborts it, with a message on what is left running and how
to end that; the guardian continues the teardown.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType

TERMINATION_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_IMPORT_WAIT_S = 0.02

LIMITS = (signal.SIGALRM, signal.SIGUSR2)
"""Signals by which Prefect ends a flow at its timeout, and a run learns of its suspension."""

_received: ContextVar[list[int]] = ContextVar("received signals")


@contextmanager
def end_by_signals() -> Iterator[list[int]]:
    """Let SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt while the block lasts.

    Outside the main thread, where Python delivers no signals, this does nothing.

    Yields:
        The numbers of the signals received so far.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        received.append(number)
        interrupt_outside_imports(number, frame)

    before = {number: signal.signal(number, interrupt) for number in TERMINATION_SIGNALS}
    token = _received.set(received)
    try:
        yield received
    finally:
        _received.reset(token)
        for number, handler in before.items():
            signal.signal(number, handler)


def interrupt_outside_imports(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt in the main thread, or send the signal again shortly afterwards.

    An exception inside Python's import machinery is lost in one of its callbacks, or leaves a lock
    held for which the next import in any thread waits for ever.

    Args:
        frame: Frame of the main thread that the signal interrupted.
    """
    if not _imports(frame):
        raise KeyboardInterrupt

    def send_again(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGALRM, before)
        signal.raise_signal(number)

    before = signal.signal(signal.SIGALRM, send_again)
    signal.setitimer(signal.ITIMER_REAL, _IMPORT_WAIT_S)


def _imports(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def signals_so_far() -> list[int]:
    """Return the signals of `end_by_signals`, as a list that grows.

    Raises:
        KeyboardInterrupt: A signal was already received. An exception raised in a destructor or a
            callback is lost; the list is not.
    """
    received = _received.get([])
    if received:
        raise KeyboardInterrupt
    return received


def exit_code_of(received: list[int]) -> int:
    """Return the exit code of a command ended by these signals: 130 for SIGINT, otherwise 143."""
    return 143 if received and received[0] != signal.SIGINT else 130


@contextmanager
def defer_signals(
    log: Callable[[str], None],
    remaining_endpoint: Callable[[], str | None],
    on_abort: Callable[[str], None],
) -> Iterator[None]:
    """Answer the first signal within the block with a message; let the second abort the block.

    Time limits within the block are ignored, because the flow is ending. Outside the main thread,
    where Python delivers no signals, this does nothing.

    Args:
        remaining_endpoint: Returns what an abort leaves running or billing, or None for nothing.
        on_abort: Called with that text before the block is aborted.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen = 0

    def answer(number: int, _frame: FrameType | None) -> None:
        nonlocal seen
        seen += 1
        if seen == 1:
            log(
                f"{signal.Signals(number).name}: the endpoint is being torn down to end its "
                "billing; please wait. Another signal aborts the teardown."
            )
            return
        if left := remaining_endpoint():
            on_abort(left)
        log(
            f"{signal.Signals(number).name}: teardown aborted; "
            f"{left or 'no endpoint of this run exists'}"
        )
        raise KeyboardInterrupt

    # Masking the signals is not enough: another thread receives them, and Python still runs the
    # handler in the main thread. So replace the handlers.
    before = {number: signal.signal(number, answer) for number in TERMINATION_SIGNALS}
    before |= {number: signal.signal(number, signal.SIG_IGN) for number in LIMITS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
