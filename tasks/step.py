"""What a step of the lifecycle is in Prefect: a task with retries of its own and no cache.

A step is repeated only when the API says that the same call may succeed later. Every call behind
a step is idempotent by the endpoint's name, so repeating one never makes a second endpoint. And a
step's result never comes from a cache: attempt two would be handed attempt one's endpoint, which
is gone.

What a step tells last becomes the message of its task run's state, which Prefect also logs: a
run's page reads as its story.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.states import Completed
from prefect.tasks import exponential_backoff

from mayfly.models.errors import RetryableError

P = ParamSpec("P")
R = TypeVar("R")

RETRIES = 5
"""After 2, 4, 8, 16 and 32 seconds, before jitter."""


def worth_repeating(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Whether a step failed by something that may pass."""
    # Prefect's engine puts the exception itself into the state that it asks about.
    return isinstance(state.data, RetryableError)


_told: ContextVar[list[str]] = ContextVar("told")


def tell(text: str) -> None:
    """Say in one line what the running step has found or done; the last line counts."""
    if (told := _told.get(None)) is not None:
        told.append(text)


@contextmanager
def _hearing() -> Iterator[list[str]]:
    """Collect what is told within the block.

    A function of its own, because a flow that serves itself is pickled with what its steps name,
    and a context variable cannot be.
    """
    told: list[str] = []
    token = _told.set(told)
    try:
        yield told
    finally:
        _told.reset(token)


class Step(Task[P, R]):
    """A task whose state says what was told; a caller gets the value that its function returns."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:  # type: ignore[override]
        """Run the step here and now."""
        ended = super().__call__(*args, **kwargs)
        return cast("R", ended.result() if isinstance(ended, State) else ended)


def step(name: str, *, run_name: str | None = None) -> Callable[[Callable[P, R]], Step[P, R]]:
    """Return the decorator that makes a plain function a step of the lifecycle.

    Args:
        name: What people call the step.
        run_name: Template of each task run's name over the arguments; unset, the step's name.
    """

    def decorate(function: Callable[P, R]) -> Step[P, R]:
        @wraps(function)
        def telling(*args: P.args, **kwargs: P.kwargs) -> R:
            with _hearing() as told:
                value = function(*args, **kwargs)
            return cast("R", Completed(message=told[-1], data=value)) if told else value

        return Step(
            telling,
            name=name,
            task_run_name=run_name or name,
            cache_policy=NO_CACHE,
            retries=RETRIES,
            retry_delay_seconds=exponential_backoff(backoff_factor=2),
            retry_jitter_factor=0.5,
            retry_condition_fn=worth_repeating,
        )

    return decorate
