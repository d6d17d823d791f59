"""Refusals that are not due to the load: of a share of all requests, and of single rows."""

import pytest

from mayfly.inference.adaptive_limit import AdaptiveLimiter
from mayfly.inference.background_refusals import BackgroundRefusals
from mayfly.inference.concurrency import Fixed, Limiter
from tests.support.simulated_time import Call, Scripted, Unlucky, run_batch


@pytest.mark.parametrize(
    "headers",
    [{}, pytest.param({"retry-after": "0"}, marks=pytest.mark.soak), {"retry-after": "1"}],
)
@pytest.mark.parametrize(
    "share",
    [
        pytest.param(0.05, marks=pytest.mark.soak),
        0.1,
        pytest.param(0.2, marks=pytest.mark.soak),
        0.4,
    ],
)
@pytest.mark.parametrize(
    ("make_limiter", "slots"),
    [(lambda: Fixed(8), 8), (lambda: Fixed(64), 64), (AdaptiveLimiter, 64)],
    ids=["8", "64", "auto"],
)
def test_share_refused_at_random_costs_no_more_than_that_share(
    make_limiter: type[AdaptiveLimiter], slots: int, share: float, headers: dict[str, str]
) -> None:
    def seconds(refused_share: float) -> float:
        limiter: Limiter = make_limiter()
        server = Unlucky(refused_share, slots=slots, service_s=1.0, headers=headers)
        batch = run_batch(server, rows := 100 * slots, limiter=limiter)
        assert len(batch.answers) == rows
        assert not batch.failed
        return batch.seconds

    # Until the share is known, the rate is lowered; a share of 5 % is hardly more than noise.
    assert seconds(share) <= seconds(0.0) / (1 - share) + 20


def test_outage_after_random_refusals_is_paced_and_loses_no_row() -> None:
    server = Unlucky(0.3, slots=64, service_s=1.0, storm_s=(20.0, 140.0))

    batch = run_batch(server, 3_000, limiter=Fixed(64))

    assert not batch.failed
    assert batch.seconds < 230
    assert server.refused_in_storm < 2 * 120 + 250


def test_messages_name_the_share_that_is_refused_at_any_rate() -> None:
    server = Unlucky(0.4, slots=64, service_s=1.0, status=503)

    batch = run_batch(server, 3_000, limiter=Fixed(64))

    said = [message for message in batch.messages if "whatever the rate" in message]
    assert len(said) == 1
    assert "HTTP 503: bad replica" in said[0]


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("bad", [{7}, set(range(0, 900, 50)), set(range(10, 900, 9))])
def test_rows_refused_while_others_are_answered_fail_within_minutes(
    status: int, bad: set[int]
) -> None:
    server = Scripted(lambda call: (0.01, status) if call.row in bad else (0.5, 200))

    batch = run_batch(server, 1_000, limiter=Fixed(16))

    assert batch.error is None
    assert len(batch.answers) == 1_000
    assert {row for row, answer in batch.answers.items() if answer.error} == bad
    assert all("while other rows were answered" in failed for failed in batch.failed)
    assert batch.seconds < 260
    assert all(server.sent[row] == 1 for row in range(1_000) if row not in bad)


def test_row_refused_while_long_answers_come_fails_before_the_last_of_them() -> None:
    def script(call: Call) -> tuple[float, int]:
        return (0.01, 429) if call.row == 7 else (20.0 + call.row % 10, 200)

    batch = run_batch(Scripted(script), 200, limiter=Fixed(8))

    assert len(batch.failed) == 1
    assert batch.seconds < 700


@pytest.mark.parametrize("share", [0.05, 0.4])
@pytest.mark.parametrize("service_s", [0.5, 10.0])
def test_outage_of_minutes_turns_no_row_into_a_failure(share: float, service_s: float) -> None:
    server = Unlucky(share, slots=64, service_s=service_s, storm_s=(20.0, 320.0))

    batch = run_batch(server, 3_000, limiter=Fixed(64))

    assert not batch.failed
    assert batch.error is None


def test_overload_is_no_background() -> None:
    background = BackgroundRefusals()

    assert not background.tried(20, 8)
    assert background.tried(20, 8)
    assert background.share == pytest.approx(0.4)
    # Requests of the window before are refused in this one too.
    background.window(20, 25)

    assert background.share == 0
    assert background.excludes(1)


def test_limit_on_the_rate_is_no_background() -> None:
    background = BackgroundRefusals()

    assert not background.tried(100, 40)
    assert not background.tried(100, 2)
    assert not background.tried(100, 40)

    assert background.share == 0
