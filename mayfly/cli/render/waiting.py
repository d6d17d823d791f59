"""Show what a command waits for, when it takes longer than a few seconds."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult
from rich.control import Control
from rich.segment import Segment
from rich.spinner import Spinner
from rich.text import Text

from mayfly.cli.render.console import is_live
from mayfly.cli.render.erasure import erasure

SILENT_S = 3.0
"""Seconds before the message is shown."""

WIDEST = 48
"""Columns of the line in a wider terminal too, so that few resizes wrap it.

A terminal wraps its lines some 20 ms before the program can know its width: what is drawn in
between leaves a copy of a wrapped row.
"""

EVERY_S = 0.1
"""Interval at which the spinner moves."""


@contextmanager
def waiting(console: Console, text: str, *, silent_s: float = SILENT_S) -> Iterator[None]:
    """Show what the block waits for: in a terminal at once, and until it ends.

    Elsewhere print one line, once the block has taken `silent_s` seconds.
    """
    if is_live(console):
        with WaitingLine(console, text):
            yield
        return
    with waiting_quietly(
        text, lambda words: console.print(Text(f"{words} ...")), silent_s=silent_s
    ):
        yield


@contextmanager
def waiting_quietly(
    text: str, log: Callable[[str], object], *, silent_s: float = SILENT_S
) -> Iterator[None]:
    """Call `log` with the text once, when the block has taken `silent_s` seconds."""
    timer = threading.Timer(silent_s, log, [text])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class WaitingLine(RenderHook):
    """A spinner with a text below what the console prints, for as long as the block lasts.

    Rich's own `Console.status` erases the rows that it has drawn; a terminal that became narrower
    has wrapped them into more, and keeps a copy at each resize.
    """

    def __init__(self, console: Console, text: str, *, every_s: float = EVERY_S) -> None:
        self._console, self._spinner = console, Spinner("dots", Text(text))
        self._widths: list[int] = []
        self._over, self._every_s = threading.Event(), every_s
        self._thread = threading.Thread(target=self._turn, name="spinner", daemon=True)

    def __enter__(self) -> Self:
        self._console.show_cursor(show=False)
        self._console.push_render_hook(self)
        self._console.print(Control())
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join()
        self._console.pop_render_hook()
        self._console.control(erasure(self._widths, self._console.width))
        self._console.show_cursor(show=True)

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Erase the line, print, and draw it again below."""
        return [erasure(self._widths, self._console.width), *renderables, self]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the line, without a line break after it."""
        # Leave the last column empty: some terminals wrap when it is used.
        width = max(1, min(WIDEST, console.width - 1))
        text = self._spinner.render(console.get_time())
        lines = console.render_lines(text, options.update(width=width), pad=False)
        self._widths = [Segment.get_line_length(line) for line in lines]
        for index, line in enumerate(lines):
            if index:
                yield Segment.line()
            yield from line

    def _turn(self) -> None:
        while not self._over.wait(self._every_s):
            # Nothing is printed, but the line is drawn again.
            self._console.print(Control())
