"""Show what a command waits for, when it takes longer than a few seconds."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

from mayfly.cli.render.console import is_live

SILENT_S = 3.0
"""Seconds before the message is shown."""


@contextmanager
def waiting(console: Console, text: str, *, silent_s: float = SILENT_S) -> Iterator[None]:
    """Show what the block waits for: in a terminal at once, and until it ends.

    Elsewhere print one line, once the block has taken `silent_s` seconds.
    """
    if is_live(console):
        with console.status(Text(text)):
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
