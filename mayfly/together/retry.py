"""Retries of idempotent calls: read-only commands, planning, a create, steps without Prefect."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from mayfly.backoff import Backoff, delay_s
from mayfly.models.errors import BadRequest, RetryableError, Unreachable

R = TypeVar("R")

BUDGET_S = 60.0
"""How long calls are retried before the error is shown to the user."""

_PAUSES = Backoff(cap_s=5.0)
"""Short, because a user is waiting."""


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
    """Retry an idempotent call on retryable errors; return its result.

    Args:
        call: The idempotent call.
        budget_s: Time limit for the start of the last attempt, in seconds; after it the last
            error is raised.
        log: Receives a line about each failed attempt.
        under_way: Whether something may have been created: then a host that refuses connections
            is retried as well, because a restarting API does that.

    Raises:
        BadRequest: The API cannot be reached, and waiting does not change that.
        RetryableError: The last one, after the time limit; any other error at once.
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
            log(f"{error}; retrying in {wait_s:.0f} s")
        sleep(wait_s)
