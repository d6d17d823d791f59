"""Lay out figures side by side on as few lines as possible, without breaking any."""

from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.text import Text

BETWEEN = " · "


def lines_of(parts: Sequence[str], width: int) -> list[str]:
    """Return the parts on as few lines as possible; a part is never broken."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + len(BETWEEN) + len(part) <= width:
            lines[-1] += BETWEEN + part
        else:
            lines.append(part)
    return lines


class Parts:
    """Draws parts within the available width."""

    def __init__(self, parts: Sequence[str], *, indent: int = 0) -> None:
        self._parts, self._indent = parts, " " * indent

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw them."""
        for line in lines_of(self._parts, options.max_width - len(self._indent)):
            yield Text(f"{self._indent}{line}", no_wrap=True, overflow="ellipsis")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Return the width of the longest part, and of all parts on one line."""
        longest = max((len(part) for part in self._parts), default=0)
        whole = len(BETWEEN.join(self._parts))
        indent = len(self._indent)
        return Measurement(longest + indent, whole + indent).with_maximum(options.max_width)
