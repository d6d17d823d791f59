"""Where people read: a terminal as wide as it is, or a pipe in which no line is ever wrapped."""

import re
import sys
from typing import IO, TextIO, cast

from rich.console import Console

UNWRAPPED = 10_000
"""Columns of a pipe: wider than any line."""

_BLANKS_AT_THE_END = re.compile(r" +(?=\n|$)")


def console(stream: TextIO | None = None) -> Console:
    """Return the console on standard output or another stream.

    Colours only in a terminal, and none with NO_COLOR; whoever reads a pipe gets plain lines,
    unwrapped and without blanks at their ends, whatever FORCE_COLOR says.
    """
    stream = stream or sys.stdout
    if stream.isatty():
        return Console(file=stream, highlight=False)
    return Console(
        file=cast("IO[str]", _Trimmed(stream)),
        width=UNWRAPPED,
        highlight=False,
        force_terminal=False,
        color_system=None,
    )


def is_live(of: Console) -> bool:
    """Whether lines can be drawn over again."""
    return of.is_terminal and not of.is_dumb_terminal


class _Trimmed:
    """A stream whose lines lose the blanks with which tables are filled up."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(_BLANKS_AT_THE_END.sub("", text))
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return False
