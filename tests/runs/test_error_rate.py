"""A run stops when more of its rows fail than the user allows."""

import pytest

from mayfly.models.errors import RunStopped
from mayfly.models.rows import Tally
from mayfly.runs.error_rate import check_error_rate


def stops(done: int, failed: int, *, left: int = 1_000, percent: float | None = None) -> bool:
    try:
        check_error_rate(Tally(done, failed), left=left, percent=percent)
    except RunStopped:
        return True
    return False


def test_error_rate_by_default_is_checked_after_100_rows() -> None:
    assert not stops(99, 99)
    assert stops(100, 51)
    assert not stops(100, 50)


def test_error_rate_of_large_input_is_checked_after_1_percent() -> None:
    assert not stops(500, 500, left=99_500)
    assert stops(1_000, 501, left=99_000)


@pytest.mark.parametrize("percent", [100.0, None])
def test_error_rate_of_a_finished_run_stops_nothing(percent: float | None) -> None:
    assert not stops(1_000, 1_000, left=0, percent=percent)


def test_error_rate_limit_of_100_percent_never_stops() -> None:
    assert not stops(1_000, 1_000, percent=100.0)


def test_error_rate_limit_of_0_stops_at_the_first_failure() -> None:
    assert stops(1, 1, percent=0.0)
    assert not stops(1, 0, percent=0.0)


def test_error_rate_certain_to_be_exceeded_stops_early() -> None:
    assert stops(20, 15, left=40, percent=20.0)
    assert not stops(20, 12, left=40, percent=20.0)


def test_error_rate_message_names_reason_and_remedy() -> None:
    with pytest.raises(RunStopped) as caught:
        check_error_rate(
            Tally(200, 150), left=50, percent=10.0, failure="too_long: HTTP 400: too long"
        )

    message = str(caught.value)
    assert "--max-error-rate 10: 150 of 200 rows failed" in message
    assert "too long" in message
    assert "--retry-failed" in message
    assert caught.value.exit_code == 5
