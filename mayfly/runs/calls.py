"""Run a function in a daemon thread that nothing has to wait for.

A thread that hangs, on a disk or in a template, delays neither a teardown nor the end of the
process: it is a daemon, and callers that wait for it can be released.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")


class DaemonCall(Generic[T]):
    """A running call."""

    def __init__(self, function: Callable[[], T], *, name: str) -> None:
        """Start the thread."""
        self._future: Future[T] = Future()
        self._function = function
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def result(self) -> T:
        """Wait for the end; return the value, or raise its error or the reason of `abandon`."""
        return self._future.result()

    def ended_within(self, seconds: float) -> bool:
        """Wait at most `seconds`; return whether the call has ended."""
        with suppress(TimeoutError):
            self._future.exception(max(0.0, seconds))
        return self._future.done()

    @property
    def error(self) -> BaseException | None:
        """The error of a call that has ended, if it raised one."""
        return self._future.exception(0)

    def abandon(self, reason: Exception) -> None:
        """Release all waiters with `reason`; the result of the call is ignored from now on."""
        with suppress(InvalidStateError):
            self._future.set_exception(reason)

    def _run(self) -> None:
        try:
            value = self._function()
        except BaseException as error:  # noqa: BLE001 - `result` raises it
            with suppress(InvalidStateError):
                self._future.set_exception(error)
        else:
            with suppress(InvalidStateError):
                self._future.set_result(value)
