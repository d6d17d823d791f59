"""Patience for calls that no step of the flow repeats: looking and planning, before a run."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from mayfly.backoff import Backoff, delay_s
from mayfly.models.errors import RetryableError

R = TypeVar("R")

BUDGET_S = 60.0
"""How long a person waits for an API that says "later" before being told so."""


def with_retries(
    call: Callable[[], R],
    *,
    budget_s: float = BUDGET_S,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    uniform: Callable[[float, float], float] = random.uniform,
) -> R:
    """Repeat a call that may be repeated while the API asks for time; return its result.

    Args:
        call: Has no effect that a second call would double.
        budget_s: When the next attempt would begin later than this, in seconds, the last error
            is raised.

    Raises:
        RetryableError: The last one, once the budget is used up; any other error at once.
    """
    end, attempt = clock() + budget_s, 0
    while True:
        try:
            return call()
        except RetryableError as error:
            attempt += 1
            wait_s = delay_s(Backoff(), attempt, retry_after_s=error.retry_after_s, uniform=uniform)
            if clock() + wait_s > end:
                raise
        sleep(wait_s)
