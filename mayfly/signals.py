"""End cleanly by a signal, and hold signals back while an endpoint is torn down.

A second Ctrl-C is impatience, and cutting a teardown short costs money: it is answered with a
message on what is being done. A third is meant: it breaks in, with what it leaves behind and the
way to end that, and the guardian goes on.
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
"""By which Prefect ends a flow that takes too long, and a run is told that it was suspended."""

_received: ContextVar[list[int]] = ContextVar("received signals")


@contextmanager
def end_by_signals() -> Iterator[list[int]]:
    """Let SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt while the block lasts.

    Outside the main thread, where Python delivers no signals, this does nothing.

    Yields:
        The numbers of the signals that have come so far.
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
    """Raise KeyboardInterrupt in the main thread, or send it the signal again a moment later.

    An exception in the middle of Python's import machinery is lost in one of its callbacks, or
    leaves a lock held, for which the next import in any thread then waits for ever.

    Args:
        frame: Where the signal has interrupted the main thread.
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
        KeyboardInterrupt: One has come already. An exception that is raised in a destructor or in
            a callback is lost; the list is not.
    """
    received = _received.get([])
    if received:
        raise KeyboardInterrupt
    return received


def exit_code_of(received: list[int]) -> int:
    """Return the exit code of a command that these signals have ended (see the contract)."""
    return 143 if received and received[0] != signal.SIGINT else 130


@contextmanager
def defer_signals(
    log: Callable[[str], None],
    left_behind: Callable[[], str | None],
    on_broken_off: Callable[[str], None],
) -> Iterator[None]:
    """Answer the first signal within the block with a message, and let the second one break in.

    A time limit that is reached within the block is of no consequence: the flow ends anyhow.
    Outside the main thread, where Python delivers no signals, this does nothing.

    Args:
        left_behind: Says what stands or bills when the block is broken off, or None for nothing.
        on_broken_off: Is given that text before the block is broken off.
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
                f"{signal.Signals(number).name}: the endpoint is being torn down, so that it "
                "stops billing; this takes a moment. Once more breaks it off."
            )
            return
        if left := left_behind():
            on_broken_off(left)
        log(f"{signal.Signals(number).name}: broken off; {left or 'nothing of this run stands'}")
        raise KeyboardInterrupt

    # Masking the signals would not do: another thread takes them, and Python runs the handler in
    # the main thread all the same. Replacing the handlers does.
    before = {number: signal.signal(number, answer) for number in TERMINATION_SIGNALS}
    before |= {number: signal.signal(number, signal.SIG_IGN) for number in LIMITS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
