"""What a step of the lifecycle is in Prefect: a task with retries of its own and no cache.

A step is repeated only when the API says that the same call may succeed later. Every call behind
a step is idempotent by the endpoint's name, so repeating one never makes a second endpoint. And a
step's result never comes from a cache: attempt two would be handed attempt one's endpoint, which
is gone.
"""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import exponential_backoff

from tasks.core.errors import RetryableError

P = ParamSpec("P")
R = TypeVar("R")

RETRIES = 5
"""After 2, 4, 8, 16 and 32 seconds, before jitter."""


def worth_repeating(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Whether a step failed by something that may pass."""
    # Prefect's engine puts the exception itself into the state that it asks about.
    return isinstance(state.data, RetryableError)


def step(name: str, *, run_name: str | None = None) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Return the decorator that makes a plain function a step of the lifecycle.

    Args:
        name: What people call the step.
        run_name: Template of each task run's name over the arguments.
    """
    return task(
        name=name,
        task_run_name=run_name,
        cache_policy=NO_CACHE,
        retries=RETRIES,
        retry_delay_seconds=exponential_backoff(backoff_factor=2),
        retry_jitter_factor=0.5,
        retry_condition_fn=worth_repeating,
    )
