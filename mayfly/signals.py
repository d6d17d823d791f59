"""Hold signals back while an endpoint is torn down.

A second Ctrl-C is impatience, and cutting a teardown short costs money: it is answered with a
word on what is being done. A third is meant: it breaks in, with what it leaves behind and the way
to end that, and the guardian goes on.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

TERMINATION_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
BROKEN_OFF: list[str] = []
"""What a teardown that was broken off has left, in words: what comes after it in this process is to
be quick."""

LIMITS = (signal.SIGALRM,)
"""By which Prefect ends a flow that takes too long."""


@contextmanager
def defer_signals(
    say: Callable[[str], None], left_behind: Callable[[], str | None]
) -> Iterator[None]:
    """Answer the first signal within the block with a word, and let the second one break in.

    A time limit that is reached within the block is of no consequence: the flow ends anyhow.
    Outside the main thread, where Python delivers no signals, this does nothing.

    Args:
        left_behind: Says what stands or bills when the block is broken off, or None for nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen = 0

    def answer(number: int, _frame: FrameType | None) -> None:
        nonlocal seen
        seen += 1
        if seen == 1:
            say(
                f"{signal.Signals(number).name}: the endpoint is being torn down, so that it "
                "stops billing; this takes a moment. Once more breaks it off."
            )
            return
        if left := left_behind():
            BROKEN_OFF.append(left)
        say(f"{signal.Signals(number).name}: broken off; {left or 'nothing of this run stands'}")
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
