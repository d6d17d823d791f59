"""Read-only calls and planning retry an API that is overloaded."""

import pytest

from mayfly.models.errors import BadRequest, RetryableError
from mayfly.together.retry import with_retries


class Later:
    """A call that answers "later" some times, on a clock that moves by being slept on."""

    def __init__(self, times: int, *, retry_after_s: float | None = None) -> None:
        self.left, self.calls, self.now_s = times, 0, 0.0
        self.retry_after_s = retry_after_s

    def __call__(self) -> str:
        self.calls += 1
        if self.left:
            self.left -= 1
            raise RetryableError("HTTP 429", status=429, retry_after_s=self.retry_after_s)
        return "answer"

    def sleep(self, seconds: float) -> None:
        """Move the clock."""
        self.now_s += seconds

    def tried(self) -> str:
        """Call it patiently, with the longest waits."""
        return with_retries(
            self, clock=lambda: self.now_s, sleep=self.sleep, uniform=lambda _low, high: high
        )


def test_call_is_repeated_until_answered() -> None:
    later = Later(3)

    assert later.tried() == "answer"
    assert later.calls == 4


def test_retry_after_is_waited_out() -> None:
    later = Later(1, retry_after_s=20)

    later.tried()

    assert later.now_s >= 20


def test_retries_end_with_the_budget() -> None:
    later = Later(1_000)

    with pytest.raises(RetryableError, match="429"):
        later.tried()

    assert later.now_s <= 60


def test_permanent_error_is_raised_at_once() -> None:
    def refused() -> None:
        raise BadRequest("no such model")

    with pytest.raises(BadRequest):
        with_retries(refused, sleep=lambda _s: pytest.fail("waited"))
