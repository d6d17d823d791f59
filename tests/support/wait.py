"""Wait for a condition, as every test of a real process has to."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

TIMEOUT_S = 180.0
"""How long a condition may take to come true on a busy machine."""


def wait_until(
    condition: Callable[[], T | None],
    what: str,
    *,
    timeout_s: float = TIMEOUT_S,
    every_s: float = 0.02,
) -> T:
    """Poll until a condition is true; return its value.

    Raises:
        AssertionError: It did not come true in time; the message says `what` was waited for.
    """
    end = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {timeout_s:.0f} s: {what}"
        time.sleep(every_s)
    return value
