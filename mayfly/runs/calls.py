"""A function in a thread of its own, which nothing has to wait for.

A thread that hangs, on a disk or in a template, holds up neither a teardown nor the end of the
process: it is a daemon, and whoever waits for it can be let go.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")


class DaemonCall(Generic[T]):
    """A call under way."""

    def __init__(self, function: Callable[[], T], *, name: str) -> None:
        """Begin it."""
        self._future: Future[T] = Future()
        self._function = function
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def result(self) -> T:
        """Wait for its end; return its value or raise what it raised, or was abandoned with."""
        return self._future.result()

    def ended_within(self, seconds: float) -> bool:
        """Wait for so long, at most; whether it has ended."""
        with suppress(TimeoutError):
            self._future.exception(max(0.0, seconds))
        return self._future.done()

    @property
    def error(self) -> BaseException | None:
        """What it raised, once it has ended."""
        return self._future.exception(0)

    def abandon(self, reason: Exception) -> None:
        """Let go whoever waits for it; what it does from now on is of no consequence."""
        with suppress(InvalidStateError):
            self._future.set_exception(reason)

    def _run(self) -> None:
        try:
            value = self._function()
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is wanted
            with suppress(InvalidStateError):
                self._future.set_exception(error)
        else:
            with suppress(InvalidStateError):
                self._future.set_result(value)
