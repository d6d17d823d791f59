"""The console: a terminal at its width, or a pipe without line wrapping."""

import os
import re
import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import IO, TextIO, cast

from rich.console import Console, ConsoleDimensions

UNWRAPPED = 10_000
"""Columns of a pipe: wider than any line."""

_SEQUENCES = re.compile(
    r"\x1b(?:[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[^\[])"
    r"|[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f]"
)
"""Control characters, and all escape sequences except those that begin with ESC [, which rich uses:
text from data must not set a title or make the terminal send a response."""

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

_BLANKS_AT_THE_END = re.compile(r" +(?=\n|$)")


def console(stream: TextIO | None = None) -> Console:
    """Return the console on standard output or another stream.

    There is one for each stream, so that a message appears above a waiting line and not in it.
    Colours are used only in a terminal, and not with NO_COLOR. A pipe gets plain lines, unwrapped
    and without trailing blanks, even with FORCE_COLOR.
    """
    stream = stream or sys.stdout
    return _console_of(stream)


@lru_cache(maxsize=4)
def _console_of(stream: TextIO) -> Console:
    file = cast("IO[str]", Steady(stream))
    if stream.isatty():
        return TerminalConsole(file=file, highlight=False, force_jupyter=False)
    return Console(
        file=file,
        width=UNWRAPPED,
        highlight=False,
        force_terminal=False,
        force_jupyter=False,
        color_system=None,
    )


class TerminalConsole(Console):
    """A console as wide as its terminal is now.

    Rich goes by COLUMNS, which may be another terminal's, or the width before a resize: programs
    with line editing, such as Python's prompt, export it to what they start. Lines that wrap
    unexpectedly could not be erased.
    """

    @property
    def size(self) -> ConsoleDimensions:
        """The size in columns and lines; what rich finds where the terminal does not tell."""
        try:
            columns, lines = os.get_terminal_size(self.file.fileno())
        except (OSError, ValueError):
            columns = lines = 0
        return ConsoleDimensions(columns, lines) if columns and lines else super().size

    @size.setter
    def size(self, new_size: tuple[int, int]) -> None:
        self._width, self._height = new_size


def is_live(of: Console, environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether lines can be redrawn: not in a dumb terminal, and not in a CI log."""
    in_ci = environ.get("CI", "").strip().lower() not in ("", "0", "false", "no")
    return of.is_terminal and not of.is_dumb_terminal and not in_ci


def notes_console() -> Console:
    """Return the console for messages beside the output, such as what a command waits for.

    In a terminal it is that of the output, because lines that are redrawn need one console.
    Elsewhere it is standard error, because a script may read the output.
    """
    output = console()
    return output if is_live(output) else console(sys.stderr)


class Steady:
    """A stream whose writes never fail: a run does not end when its reader closes the pipe."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._terminal = stream.isatty()
        self.encoding = stream.encoding

    def write(self, text: str) -> int:
        """Write text without control sequences; in a pipe also without trailing blanks."""
        size = len(text)
        if not self._terminal:
            text = _BLANKS_AT_THE_END.sub("", _CONTROLS.sub("", text))
        else:
            text = _SEQUENCES.sub("", text)
        try:
            self._stream.write(text)
        except UnicodeEncodeError:
            self._stream.write(text.encode(self.encoding, "replace").decode(self.encoding))
        except (OSError, ValueError):
            self._let_go()
        return size

    def flush(self) -> None:
        """Flush the stream."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            self._let_go()

    def isatty(self) -> bool:
        """Return whether this is a terminal."""
        return self._terminal

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._stream.fileno()

    def _let_go(self) -> None:
        silence(self._stream)


def silence(stream: TextIO) -> None:
    """Redirect a stream that cannot be written to /dev/null.

    Otherwise Python's flush at exit turns a broken pipe or a full disk into the exit code.
    """
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    except (OSError, ValueError):
        return
