"""What a step of the lifecycle is in Prefect: a task with retries of its own and no cache.

A step is repeated only when the API says that the same call may succeed later. Every call behind
a step is idempotent by the endpoint's name, so repeating one never makes a second endpoint. And a
step's result never comes from a cache: attempt two would be handed attempt one's endpoint, which
is gone.

What a step tells last becomes the message of its task run's state, which Prefect also logs: a
run's page reads as its story.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import wraps
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, cast

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.exceptions import Abort, Pause, PausedRun
from prefect.states import Completed
from prefect.tasks import exponential_backoff

from mayfly.models.errors import RetryableError
from mayfly.orchestration.record import is_recorded
from mayfly.together.retry import with_retries

P = ParamSpec("P")
R = TypeVar("R")
T_co = TypeVar("T_co", covariant=True)

RETRIES = 5
"""After 2, 4, 8, 16 and 32 seconds, before jitter."""

RETRY_BUDGET_S = 120.0
"""How long a step is repeated that Prefect does not see."""


class Started(Protocol[T_co]):
    """A step that runs beside its caller: Prefect's future, or a thread."""

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        """Call with this object once the step has ended."""

    def wait(self) -> None:
        """Wait until the step has ended, however."""

    def result(self) -> T_co:
        """Return the step's value, or raise its error."""


class _Thread(Generic[R]):
    """A step on a thread of its own, where Prefect does not see it."""

    def __init__(self, call: Callable[[], R]) -> None:
        self._future: Future[R] = Future()
        self._ended = threading.Event()
        context = copy_context()
        threading.Thread(target=context.run, args=(self._run, call), daemon=True).start()

    def _run(self, call: Callable[[], R]) -> None:
        try:
            self._future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
            self._future.set_exception(error)
        finally:
            self._ended.set()

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        self._future.add_done_callback(lambda _: fn(self))

    def wait(self) -> None:
        self._ended.wait()

    def result(self) -> R:
        return self._future.result()


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
    """A task whose state says what was told; a caller gets the value that its function returns.

    Attributes:
        always: Whether it runs even in a flow run that is suspended or paused: Prefect starts no
            task there, and what tears down may not wait for that. Its function may run twice.
    """

    always = False

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:  # type: ignore[override]
        """Run the step here and now."""
        if not is_recorded():
            return with_retries(
                lambda: self._plain(*args, **kwargs), budget_s=RETRY_BUDGET_S, under_way=True
            )
        try:
            return self._value(super().__call__(*args, **kwargs))
        except (Pause, Abort, PausedRun):
            if not self.always:
                raise
            return self._plain(*args, **kwargs)

    def start(self, *args: P.args, **kwargs: P.kwargs) -> Started[R]:
        """Run the step beside the caller."""
        if not is_recorded():
            return _Thread(lambda: self._plain(*args, **kwargs))
        return cast("Started[R]", self.submit(*args, **kwargs))

    def _plain(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._value(self.fn(*args, **kwargs))

    @staticmethod
    def _value(ended: Any) -> R:
        return cast("R", ended.result() if isinstance(ended, State) else ended)


def step(
    name: str, *, run_name: str | None = None, always: bool = False
) -> Callable[[Callable[P, R]], Step[P, R]]:
    """Return the decorator that makes a plain function a step of the lifecycle.

    Args:
        name: What people call the step.
        run_name: Template of each task run's name over the arguments; unset, the step's name.
        always: Whether the step runs in a flow run that is suspended, too; see `Step`.
    """

    def decorate(function: Callable[P, R]) -> Step[P, R]:
        @wraps(function)
        def telling(*args: P.args, **kwargs: P.kwargs) -> R:
            with _hearing() as told:
                value = function(*args, **kwargs)
            if not told or not is_recorded():
                return value
            return cast("R", Completed(message=told[-1], data=value))

        made = Step(
            telling,
            name=name,
            task_run_name=run_name or name,
            cache_policy=NO_CACHE,
            retries=RETRIES,
            retry_delay_seconds=exponential_backoff(backoff_factor=2),
            retry_jitter_factor=0.5,
            retry_condition_fn=worth_repeating,
        )
        made.always = always
        return made

    return decorate
