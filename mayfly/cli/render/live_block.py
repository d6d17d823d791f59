"""Lines at the bottom of a terminal that are drawn over again, whole when it is resized too."""

from rich.console import Console, RenderableType
from rich.text import Text

WIDEST = 120
"""Columns used at most: longer lines are hard to read."""


class LiveBlock:
    """Draws lines in place of those it drew before; other lines are printed above them.

    A terminal that becomes narrower wraps what is on it. What was drawn is therefore counted in
    the lines that it takes at the width of now, and removed with what the wrapping added.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._widths: list[int] = []
        self._shown: RenderableType | None = None

    def show(self, renderable: RenderableType) -> None:
        """Draw something in place of what is there."""
        self._shown = renderable
        self._write(self._erasure() + self._drawing(renderable))

    def above(self, renderable: RenderableType) -> None:
        """Print something above, where it stays."""
        self._write(self._erasure())
        self._console.print(renderable)
        if self._shown is not None:
            self._write(self._drawing(self._shown))

    def end(self) -> None:
        """Remove what is there."""
        self._shown = None
        self._write(self._erasure() + "\x1b[?25h")

    def _drawing(self, renderable: RenderableType) -> str:
        console = self._console
        # The last column stays empty: some terminals wrap when it is filled.
        with console.capture() as captured:
            console.print(renderable, width=min(WIDEST, console.width - 1))
        text = captured.get().rstrip("\n")
        self._widths = [Text.from_ansi(line).cell_len for line in text.split("\n")]
        return "\x1b[?25l" + text

    def _erasure(self) -> str:
        """Return what removes the lines that were drawn, wherever their ends are by now."""
        width = max(1, self._console.width)
        rows = sum(max(1, -(-drawn // width)) for drawn in self._widths)
        self._widths = []
        if not rows:
            return ""
        # Line by line: some terminals keep a screen that is cleared from its top as history.
        return "\r\x1b[2K" + "\x1b[1A\x1b[2K" * (rows - 1)

    def _write(self, text: str) -> None:
        if text:
            self._console.file.write(text)
            self._console.file.flush()
