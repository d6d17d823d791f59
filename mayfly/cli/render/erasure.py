"""Erase lines at the bottom of a terminal that may have been resized since they were drawn."""

from collections.abc import Iterable

from rich.control import Control
from rich.segment import ControlType


def erasure(widths: Iterable[int], width: int) -> Control:
    """Return the control sequence that erases lines, from the last to the first.

    A terminal that becomes narrower wraps the lines on it. So the rows are counted at the current
    width.

    Args:
        widths: Columns of each line when it was drawn; the cursor is on the last.
        width: Columns of the terminal now.
    """
    rows = sum(max(1, -(-drawn // max(1, width))) for drawn in widths)
    if not rows:
        return Control()
    # Line by line: some terminals keep a screen cleared from the top as history.
    row_above = ((ControlType.CURSOR_UP, 1), (ControlType.ERASE_IN_LINE, 2))
    return Control(
        ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2), *(row_above * (rows - 1))
    )
