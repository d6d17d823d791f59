"""Lines in a notebook's output that are replaced during a run."""

import io
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from rich.console import Console, RenderableType

WIDTH = 100

Display = Callable[..., Any]
"""`IPython.display.display`."""


class NotebookBlock:
    """Shows lines in one output of the cell and replaces them; messages stay above.

    Source: IPython's `display(..., display_id=True)`, whose handle has `update`.
    """

    def __init__(self, display: Display) -> None:
        self._display = display
        self._messages: list[str] = []
        self._handle: Any = None
        self._shown = ""

    def show(self, renderable: RenderableType) -> None:
        """Replace the block."""
        self._shown = _text(renderable)
        self._update()

    def above(self, renderable: RenderableType) -> None:
        """Add something permanently above the block."""
        self._messages.append(_text(renderable))
        self._update()

    def end(self) -> None:
        """Remove the block; the messages stay."""
        self._shown = ""
        self._update()

    def _update(self) -> None:
        bundle = {"text/plain": "\n".join([*self._messages, self._shown]).rstrip("\n")}
        if self._handle is None:
            self._handle = self._display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)


def notebook_display() -> Display | None:
    """Return IPython's `display` in a notebook's kernel; None elsewhere."""
    # Never import it: in a notebook it is already imported.
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if type(shell).__name__ != "ZMQInteractiveShell":
        return None
    found: Display = import_module("IPython.display").display
    return found


def _text(renderable: RenderableType) -> str:
    out = io.StringIO()
    Console(file=out, width=WIDTH, highlight=False, color_system=None, force_jupyter=False).print(
        renderable
    )
    return "\n".join(line.rstrip() for line in out.getvalue().rstrip("\n").splitlines())
