"""Durations, as people write and read them."""

import re

_PART = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
PATTERN = r"^(\d+(\.\d+)?[smhd] ?)+$"
"""Regular expression of what `read_span` accepts, for forms."""


def span(seconds: float) -> str:
    """Format a duration for people: `0.4 s`, `42 s`, `7 min 05 s`, `2 h 03 min`."""
    if seconds < 1:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest_s = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest_s:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def short(seconds: float) -> str:
    """Format a short duration to three significant figures: `8.25 ms`, `1.4 s`."""
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:,.3g} s"


def write_span(seconds: float) -> str:
    """Format a duration as `read_span` reads it: `90s`, `45m`, `1.5s`."""
    for unit in ("d", "h", "m"):
        if seconds >= _UNIT_S[unit] and seconds % _UNIT_S[unit] == 0:
            return f"{seconds // _UNIT_S[unit]:.0f}{unit}"
    return f"{seconds:f}".rstrip("0").rstrip(".") + "s"


def read_span(text: str) -> float:
    """Return the seconds of a duration such as `90m`, `1h30m` or `45s`.

    Raises:
        ValueError: The text is not a duration; a bare number is none.
    """
    compact = text.replace(" ", "").lower()
    parts = _PART.findall(compact)
    if not parts or "".join(number + unit for number, unit in parts) != compact:
        raise ValueError(f"must be a duration such as 90m, 2h or 1h30m, not {text!r}")
    return sum(float(number) * _UNIT_S[unit] for number, unit in parts)
