"""Say what is waited for, whenever that takes more than a moment."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

from mayfly.cli.render.console import is_live

SILENT_S = 3.0
"""What takes longer says what it waits for."""


@contextmanager
def waiting(console: Console, text: str, *, silent_s: float = SILENT_S) -> Iterator[None]:
    """Say what is waited for while the block lasts; in a terminal at once, until it ends.

    Elsewhere it is one line, once the block has taken `silent_s` seconds.
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
    """Say what is waited for once, when the block has taken `silent_s` seconds."""
    timer = threading.Timer(silent_s, log, [text])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
