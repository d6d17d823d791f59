"""The decorator `@step`: a Prefect task with retries and without a cache.

A step is repeated only when the same call may succeed later. Every call behind a step is
idempotent by the endpoint's name, so repeating one never creates a second endpoint. A step's
result never comes from a cache: the second attempt would get the deleted endpoint of the first.

The last `set_message` of a step becomes the message of its task run's state, which Prefect also
logs.
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
"""Time limit in seconds for repeating a step outside a flow run."""


class Started(Protocol[T_co]):
    """A step that runs in the background: a Prefect future, or a thread."""

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        """Call with this object once the step has ended."""

    def wait(self) -> None:
        """Wait until the step has ended or failed."""

    def result(self) -> T_co:
        """Return the step's value, or raise its error."""


class _Thread(Generic[R]):
    """A step in its own thread, outside a flow run."""

    def __init__(self, call: Callable[[], R]) -> None:
        self._future: Future[R] = Future()
        self._ended = threading.Event()
        context = copy_context()
        threading.Thread(target=context.run, args=(self._run, call), daemon=True).start()

    def _run(self, call: Callable[[], R]) -> None:
        try:
            self._future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - `result` raises it
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
    """Return whether a step failed with a retryable error."""
    # Prefect's engine puts the exception itself into this state.
    return isinstance(state.data, RetryableError)


_messages: ContextVar[list[str]] = ContextVar("step messages")


def set_message(text: str) -> None:
    """Set the message of the running step's state: one line on its result; the last call wins."""
    if (messages := _messages.get(None)) is not None:
        messages.append(text)


@contextmanager
def _collect_messages() -> Iterator[list[str]]:
    """Collect the messages set within the block.

    It is a separate function because a flow that serves itself is pickled with the names that its
    steps use, and a context variable cannot be pickled.
    """
    messages: list[str] = []
    token = _messages.set(messages)
    try:
        yield messages
    finally:
        _messages.reset(token)


class Step(Task[P, R]):
    """A task whose state has a message; a caller gets the return value of the function.

    Attributes:
        always: Whether it runs even in a suspended or paused flow run, where Prefect starts no
            task: a teardown must not wait for that. Its function may run twice.
    """

    always = False

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:  # type: ignore[override]
        """Run the step in the caller's thread."""
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
        """Start the step in the background."""
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
        name: Name of the step.
        run_name: Template of the task run's name over the arguments; default: the step's name.
        always: Whether the step also runs in a suspended flow run; see `Step`.
    """

    def decorate(function: Callable[P, R]) -> Step[P, R]:
        @wraps(function)
        def with_message(*args: P.args, **kwargs: P.kwargs) -> R:
            with _collect_messages() as messages:
                value = function(*args, **kwargs)
            if not messages or not is_recorded():
                return value
            return cast("R", Completed(message=messages[-1], data=value))

        made = Step(
            with_message,
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
