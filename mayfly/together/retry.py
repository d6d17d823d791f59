"""Patience for calls that no step of the flow repeats: looking and planning, before a run."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from mayfly.backoff import Backoff, delay_s
from mayfly.models.errors import BadRequest, RetryableError, Unreachable

R = TypeVar("R")

BUDGET_S = 60.0
"""How long a person waits for an API that says "later" before being told so."""

_PAUSES = Backoff(cap_s=5.0)
"""Somebody is waiting, and is told at each attempt."""


def with_retries(
    call: Callable[[], R],
    *,
    budget_s: float = BUDGET_S,
    log: Callable[[str], None] = lambda _text: None,
    under_way: bool = False,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    uniform: Callable[[float, float], float] = random.uniform,
) -> R:
    """Repeat a call that may be repeated while the API asks for time; return its result.

    Args:
        call: Has no effect that a second call would double.
        budget_s: When the next attempt would begin later than this, in seconds, the last error
            is raised.
        log: Receives a line about each failed attempt.
        under_way: Whether something may have been created: then a host that refuses connections is
            waited for too, as an API that is restarted does.

    Raises:
        BadRequest: The API cannot be reached, and waiting does not change that.
        RetryableError: The last one, once the budget is used up; any other error at once.
    """
    end, attempt = clock() + budget_s, 0
    while True:
        try:
            return call()
        except RetryableError as error:
            if isinstance(error, Unreachable) and not under_way:
                raise BadRequest(str(error)) from error
            attempt += 1
            wait_s = delay_s(_PAUSES, attempt, retry_after_s=error.retry_after_s, uniform=uniform)
            if clock() + wait_s > end:
                raise
            log(f"{error}; trying again in {wait_s:.0f} s")
        sleep(wait_s)
