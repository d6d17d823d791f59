"""Lines at the bottom of a terminal that are redrawn in place, also after a resize."""

from rich.console import Console, RenderableType
from rich.text import Text

from mayfly.cli.render.erasure import erasure

WIDEST = 120
"""Maximum width in columns: longer lines are hard to read."""


class LiveBlock:
    """Redraws a block of lines in place; other lines are printed above it.

    A resize may leave a copy if the block is drawn in the 20 ms between the wrapping of its lines
    and the program's knowledge of the width; no terminal reports that beforehand.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._widths: list[int] = []
        self._shown: RenderableType | None = None

    def show(self, renderable: RenderableType) -> None:
        """Replace the block."""
        self._shown = renderable
        self._write(self._erasure() + self._drawing(renderable))

    def above(self, renderable: RenderableType) -> None:
        """Print something permanently above the block."""
        self._write(self._erasure())
        self._console.print(renderable)
        if self._shown is not None:
            self._write(self._drawing(self._shown))

    def end(self) -> None:
        """Erase the block."""
        self._shown = None
        self._write(self._erasure() + "\x1b[?25h")

    def _drawing(self, renderable: RenderableType) -> str:
        console = self._console
        # Leave the last column empty: some terminals wrap when it is used.
        with console.capture() as captured:
            console.print(renderable, width=min(WIDEST, console.width - 1))
        text = captured.get().rstrip("\n")
        self._widths = [Text.from_ansi(line).cell_len for line in text.split("\n")]
        return "\x1b[?25l" + text

    def _erasure(self) -> str:
        erased = erasure(self._widths, self._console.width)
        self._widths = []
        return erased.segment.text

    def _write(self, text: str) -> None:
        if text:
            self._console.file.write(text)
            self._console.file.flush()
