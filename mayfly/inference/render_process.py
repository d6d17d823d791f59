"""Render templates in a process that is ended if a row takes too long or too much memory.

Whatever a template does, in Python or in C, the kernel ends the process: by a CPU timer (SIGPROF)
or by refusing memory. The row is then an error, and a new process continues with the next row. If
the parent dies, the process ends at the end of its input, or by the same timer.
"""

import pickle
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, Any, NamedTuple

from mayfly.inference.cell_text import RowError
from mayfly.models.errors import TerminalError
from mayfly.models.failures import TEMPLATE

ROW_CPU_S = 2.0
"""Maximum CPU time of one row."""

MEMORY_BYTES = 2 * 2**30
"""Maximum address space of the process; the interpreter itself uses a tenth of it."""

ENDING_S = 5.0
"""Time for a process that has closed its pipe to exit."""

MAX_CRASHED_ROWS = 16
"""Consecutive rows that end the process before the template itself counts as faulty."""


class Limits(NamedTuple):
    """Resource limits of one row."""

    cpu_s: float = ROW_CPU_S
    memory_bytes: int = MEMORY_BYTES


class RenderProcess:
    """Renders the rows of one template in another process, which is started on demand."""

    def __init__(self, text: str, columns: Sequence[str], limits: Limits = Limits()) -> None:  # noqa: B008 - immutable
        self._job = text, tuple(columns), limits
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._turn = threading.Lock()
        self._ended = 0

    def render_all(self, rows: Sequence[dict[str, Any]]) -> list[str | RowError]:
        """Return the text of each row, or why it has none.

        Raises:
            TerminalError: Too many consecutive rows exceeded a limit; the run should not wait.
        """
        found: list[str | RowError] = []
        again = False
        with self._turn:
            while len(found) < len(rows):
                before = len(found)
                status = self._render_some(rows[before:], found)
                if status is None:
                    continue
                if len(found) > before:
                    self._ended, again = 0, False
                # A kill from outside is not the row's fault: it is rendered once more.
                if status != -signal.SIGPROF and not again:
                    again = True
                    continue
                again = False
                found.append(self._too_much(status))
        return found

    def _render_some(
        self, rows: Sequence[dict[str, Any]], found: list[str | RowError]
    ) -> int | None:
        """Render rows until all are done or the process has ended; return its exit status."""
        process = self._running()
        assert process.stdin is not None  # noqa: S101
        assert process.stdout is not None  # noqa: S101
        try:
            send(process.stdin, rows)
            for _ in rows:
                text, message = pickle.load(process.stdout)  # noqa: S301 - a process of our own
                found.append(text if message is None else RowError(TEMPLATE, message))
        except (EOFError, OSError, pickle.UnpicklingError):
            self._process = None
            return _ended(process)
        self._ended = 0
        return None

    def _too_much(self, status: int) -> RowError:
        self._ended += 1
        took = (
            f"took more than {self._limits.cpu_s:.0f} s of CPU time"
            if status == -signal.SIGPROF
            else f"ended its process (status {status}); it may take too much memory"
        )
        if self._ended >= MAX_CRASHED_ROWS:
            raise TerminalError(
                f"--prompt: the template {took} for each of {self._ended} consecutive rows; "
                "simplify it and run again"
            )
        return RowError(TEMPLATE, f"the template {took}")

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "mayfly.inference.render_worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                # Ctrl-C is for the run; here it would be taken for a failure of the row.
                start_new_session=True,
            )
            weakref.finalize(self, _end, process)
            assert process.stdin is not None  # noqa: S101
            send(process.stdin, self._job)
            self._process = process
        return self._process


def _ended(process: subprocess.Popen[bytes]) -> int:
    """Return the exit status of a process that has closed its pipe; kill it if it hangs."""
    try:
        return process.wait(timeout=ENDING_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
    finally:
        _close_pipes(process)


def send(pipe: IO[bytes], value: object) -> None:
    """Write a value for the other side to read."""
    pickle.dump(value, pipe, protocol=5)
    pipe.flush()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    _close_pipes(process)


def _close_pipes(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):  # Unwritten data has no reader any more.
            if pipe is not None:
                pipe.close()
