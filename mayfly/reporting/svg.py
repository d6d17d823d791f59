"""Draw SVG for an HTML page: classes of the page's stylesheet, no external resources, no script.

Coordinates are pixels from the top left. Colours are classes (`one`, `soft`, ...), so that a
drawing is right in light and dark and on paper.
"""

import math
from collections.abc import Callable, Sequence
from html import escape

FONT_PX = 12
CHARACTER_PX = 6.6
"""Upper estimate of the mean width of a character at that size, to decide what fits."""

_ROUND_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200)


class Drawing:
    """An SVG image of fixed size."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self._parts: list[str] = []

    def rect(
        self, x: float, y: float, width: float, height: float, style: str, *, title: str = ""
    ) -> None:
        """Add a rectangle; `title` is its tooltip."""
        shape = (
            f'<rect class="{style}" x="{_px(x)}" y="{_px(y)}" width="{_px(max(width, 0.5))}" '
            f'height="{_px(max(height, 0))}"'
        )
        words = f"><title>{escape(title)}</title></rect>" if title else "/>"
        self._parts.append(shape + words)

    def line(self, x1: float, y1: float, x2: float, y2: float, style: str) -> None:
        """Add a straight line."""
        self._parts.append(
            f'<line class="{style}" x1="{_px(x1)}" y1="{_px(y1)}" x2="{_px(x2)}" y2="{_px(y2)}"/>'
        )

    def curve(self, points: Sequence[tuple[float, float]], style: str) -> None:
        """Add a line through points."""
        self._parts.append(f'<path class="{style}" d="{_path(points)}"/>')

    def area(self, points: Sequence[tuple[float, float]], base: float, style: str) -> None:
        """Fill the area between a line through points and the height `base`."""
        if points:
            around = [(points[0][0], base), *points, (points[-1][0], base)]
            self._parts.append(f'<path class="{style}" d="{_path(around)}Z"/>')

    def text(
        self, x: float, y: float, words: str, *, style: str = "soft", anchor: str = "start"
    ) -> None:
        """Add text with its baseline at `y`; `anchor` is start, middle or end."""
        self._parts.append(
            f'<text class="{style}" x="{_px(x)}" y="{_px(y)}" text-anchor="{anchor}">'
            f"{escape(words)}</text>"
        )

    def render(self, *, title: str, description: str, style: str = "") -> str:
        """Return the element, with a title and a description for screen readers."""
        return (
            f'<svg class="{style}" viewBox="0 0 {_px(self.width)} {_px(self.height)}" role="img">'
            f"<title>{escape(title)}</title><desc>{escape(description)}</desc>"
            f"{''.join(self._parts)}</svg>"
        )


def linear(low: float, high: float, from_px: float, to_px: float) -> Callable[[float], float]:
    """Return the scale that maps `low` to `from_px` and `high` to `to_px`."""
    per_unit = (to_px - from_px) / (high - low or 1.0)
    return lambda value: from_px + (value - low) * per_unit


def logarithmic(low: float, high: float, from_px: float, to_px: float) -> Callable[[float], float]:
    """Return the logarithmic scale of the same range; `low` must be above zero."""
    scale = linear(math.log10(low), math.log10(high), from_px, to_px)
    return lambda value: scale(math.log10(value))


def ticks(high: float, most: int) -> list[float]:
    """Return at most `most` round values from 0 to `high`."""
    if high <= 0:
        return [0.0]
    rough = high / max(most - 1, 1)
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= rough * 0.999)
    return [round(step * i, 10) for i in range(int(high / step + 1e-9) + 1)]


def ticks_s(low_s: float, high_s: float, most: int) -> list[float]:
    """Return round times in a range, in seconds, such as every 15 minutes."""
    rough = (high_s - low_s) / max(most - 1, 1)
    if rough < 1:
        step = next((s for s in (0.05, 0.1, 0.2, 0.5, 1.0) if s >= rough), 1.0)
    else:
        days = 86_400 * math.ceil(rough / 86_400)
        step = next((float(s) for s in _ROUND_S if s >= rough), float(days))
    first = math.ceil(low_s / step - 1e-9)
    return [round(step * i, 6) for i in range(first, int(high_s / step + 1e-9) + 1)]


def ticks_log(low: float, high: float, most: int) -> list[float]:
    """Return 1, 2, 5, 10, ... (or fewer per decade) within a range, both ends included."""
    for steps in ((1, 2, 5), (1, 3), (1,)):
        found = [
            factor * 10.0**power
            for power in range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
            for factor in steps
            if low * 0.999 <= factor * 10.0**power <= high * 1.001
        ]
        if len(found) <= most:
            return found
    return found[:: math.ceil(len(found) / most)]


def fits(words: str, width: float) -> bool:
    """Return whether text fits into a width in pixels."""
    return len(words) * CHARACTER_PX <= width


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "".join(
        f"{'L' if index else 'M'}{_px(x)} {_px(y)}" for index, (x, y) in enumerate(points)
    )


def _px(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
