"""Overload, few slots and hung requests: no row is lost, none is repeated needlessly."""

import pytest

from mayfly.inference.adaptive_limit import AdaptiveLimiter
from mayfly.inference.concurrency import Fixed
from mayfly.inference.transport.base import NotSent
from mayfly.models.errors import EndpointLost, TerminalError
from mayfly.models.rows import Answer
from tests.support.simulated_time import (
    Call,
    RateLimited,
    Scripted,
    SimulatedLoop,
    SimulatedServer,
    Slots,
    run_batch,
)

SEEDS = [*range(3), *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(3, 20))]


@pytest.mark.parametrize("status", [429, 503, 529])
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("latency_s", [0.05, 0.5, 1.0])
def test_rate_limit_is_used_fully_and_loses_no_row(
    status: int, seed: int, latency_s: float
) -> None:
    server = RateLimited([(0.0, 20.0)], latency_s=latency_s, status=status, seed=seed)

    batch = run_batch(server, 300, seed=seed)

    assert not batch.failed
    assert batch.seconds <= 1.1 * 15
    assert server.refused < 100


def test_answer_that_came_while_the_process_was_held_up_is_taken() -> None:
    class HeldUp(SimulatedServer):
        def serve(self, call: Call) -> None:
            self.reply(call, 0.7)
            if call.row == 0:
                loop = self.loop
                assert isinstance(loop, SimulatedLoop)
                loop.call_later(0.1, loop.hold_up, 600)

    batch = run_batch(server := HeldUp(), 8, row_timeout_s=10)

    assert not batch.failed
    assert set(server.sent.values()) == {1}


def test_rate_limit_that_is_lifted_is_noticed_within_seconds() -> None:
    server = RateLimited([(0.0, 20.0), (20.0, float("inf"))], latency_s=0.5)

    batch = run_batch(server, 2_000)

    assert not batch.failed
    # 1,600 rows are left then; the climb from 16 in flight takes ten round trips.
    assert batch.seconds < 36


@pytest.mark.parametrize("seed", range(5))
def test_rate_limit_with_retry_after_is_used_fully(seed: int) -> None:
    server = RateLimited([(0.0, 20.0)], headers={"retry-after": "1"}, seed=seed)

    batch = run_batch(server, 300, seed=seed)

    assert not batch.failed
    assert batch.seconds <= 1.1 * 15


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("storm_s", [45.0, 300.0])
def test_overload_costs_no_attempt_and_loses_no_row(status: int, storm_s: float) -> None:
    server = RateLimited([(0.0, 0.0), (storm_s, float("inf"))], status=status)

    batch = run_batch(server, 40)

    assert not batch.failed
    assert batch.seconds < storm_s + 15
    assert server.refused < 1.5 * storm_s + 20


def test_overload_beyond_its_time_limit_ends_the_run() -> None:
    server = RateLimited([(0.0, 0.0)], status=503)

    batch = run_batch(server, 400, refused_for_s=120.0)

    assert isinstance(batch.error, EndpointLost)
    assert "nothing but refused load for 120 s" in str(batch.error)
    assert "engine overloaded" in str(batch.error)
    assert 115 <= batch.seconds < 135


def test_row_refused_alone_waits_and_is_bounded_by_time() -> None:
    server = Scripted(lambda call: (0.01, 429) if call.row == 7 else (0.2, 200))

    batch = run_batch(server, 100, refused_for_s=60.0)

    assert list(batch.answers[7].error or "")
    assert len(batch.failed) == 1
    assert 60 <= batch.seconds < 80
    assert server.sent[7] < 40


def test_row_that_is_refused_ten_times_is_answered() -> None:
    def script(call: Call) -> tuple[float, int]:
        return (0.01, 429) if call.row == 7 and server.sent[7] <= 10 else (0.2, 200)

    server = Scripted(script)
    batch = run_batch(server, 100, row_attempts=2)

    assert not batch.failed
    assert batch.answers[7].attempts == 11


def test_retry_after_of_an_hour_is_waited_for_a_minute_and_reported_once() -> None:
    class Asking(Scripted):
        def serve(self, call: Call) -> None:
            if call.row == 0 and self.sent[0] == 1:
                self.reply(call, 0.01, 429, {"retry-after": "3600"})
            else:
                self.reply(call, 0.01)

    server = Asking(lambda _call: None)
    batch = run_batch(server, 2)

    assert not batch.failed
    assert 60 <= batch.seconds < 70
    assert [said for said in batch.messages if "3,600 s" in said and "60 s" in said]


@pytest.mark.parametrize("watches", [True, False])
def test_few_slow_slots_are_kept_full_with_one_request_per_row(watches: bool) -> None:
    server = Slots(2, 45.0, watches=watches)

    batch = run_batch(server, 48)

    assert not batch.failed
    assert batch.seconds <= 1.1 * 1_080
    assert len(server.sent_at) == 48


@pytest.mark.parametrize("watches", [True, False])
def test_rows_that_time_out_in_the_server_queue_are_not_lost(watches: bool) -> None:
    server = Slots(2, 45.0, watches=watches)

    batch = run_batch(server, 20, row_timeout_s=60.0)

    assert not batch.failed
    assert len(server.sent_at) <= (60 if watches else 90)


def test_first_limit_far_above_the_slots_sends_each_row_once() -> None:
    server = Slots(2, 20.0)

    batch = run_batch(server, 60, limiter=AdaptiveLimiter(first=256))

    assert not batch.failed
    assert batch.seconds <= 1.1 * 600


def test_hung_row_is_retried_once_with_more_time_and_then_fails() -> None:
    server = Scripted(lambda call: None if call.row == 3 else (0.5, 200))

    batch = run_batch(server, 200)

    assert server.sent[3] == 2
    assert sum(server.sent.values()) == 201
    assert "raise --row-timeout" in batch.failed[0]
    # Measured, the longest wait is a minute; then two.
    assert 170 < batch.seconds < 200
    assert [said for said in batch.messages if "row 3" in said and "no answer within 6" in said]


def test_explicit_row_timeout_is_kept_and_the_row_is_not_retried() -> None:
    server = Scripted(lambda call: None if call.row == 3 else (0.5, 200))

    batch = run_batch(server, 200, row_timeout_s=5.0)

    assert server.sent[3] == 1
    assert len(batch.failed) == 1
    assert batch.seconds < 10


def test_endpoint_that_stops_answering_is_left() -> None:
    server = Scripted(lambda call: (0.5, 200) if call.row < 200 else None)

    batch = run_batch(server, 1_000)

    assert isinstance(batch.error, EndpointLost)
    assert batch.seconds < 250


def test_row_timeout_grows_with_max_tokens() -> None:
    server = Scripted(lambda _call: (900.0, 200))

    batch = run_batch(server, 40, max_tokens=16_000)

    assert not batch.failed
    assert len(server.sent_at) == 40


def test_permanent_connection_error_ends_the_run_and_names_the_host() -> None:
    server = Scripted(lambda _call: NotSent("host nowhere.test is unknown", patience_s=0.0))

    batch = run_batch(server, 40)

    assert isinstance(batch.error, TerminalError)
    assert "nowhere.test" in str(batch.error)
    assert batch.seconds < 1


def test_transient_connection_error_is_waited_out_with_messages() -> None:
    def script(_call: Call) -> tuple[float, int] | NotSent:
        return NotSent("host x: try again") if server.loop.time() < 60 else (0.2, 200)

    server = Scripted(script)
    batch = run_batch(server, 40)

    assert not batch.failed
    assert 10 <= len([said for said in batch.messages if "host x" in said]) <= 14


def test_overload_messages_name_the_rate() -> None:
    server = RateLimited([(0.0, 20.0), (15.0, float("inf"))])

    batch = run_batch(server, 2_000, limiter=Fixed(32))

    refused = [said for said in batch.messages if "refuses load (HTTP 429: engine overl" in said]
    assert 1 <= len(refused) <= 6
    assert [said for said in batch.messages if "no longer refused" in said]


class Spoiling(AdaptiveLimiter):
    """Fails at every tenth answer."""

    answers = 0

    def answered(
        self, now_s: float, *, latency_s: float, in_flight: int, work: float = 1.0
    ) -> None:
        super().answered(now_s, latency_s=latency_s, in_flight=in_flight, work=work)
        Spoiling.answers += 1
        if Spoiling.answers % 10 == 0:
            raise ZeroDivisionError("measured nothing")


def test_exception_while_measuring_costs_no_row_and_no_slot() -> None:
    server = Scripted(lambda _call: (0.2, 200))

    batch = run_batch(server, 200, limiter=Spoiling())

    assert not batch.failed
    assert len([said for said in batch.messages if "ZeroDivisionError" in said]) == 1


def test_exception_while_reading_an_answer_settles_its_row() -> None:
    def read(row: int, body: bytes, attempts: int, latency_s: float) -> Answer:
        if row % 10 == 3:
            raise RecursionError("too deep")
        return Answer(row, "yes", attempts=attempts, latency_s=latency_s)

    server = Scripted(lambda _call: (0.2, 200))
    batch = run_batch(server, 200, read=read)

    assert len(batch.failed) == 20
    assert "RecursionError: too deep" in batch.failed[0]
    assert len(server.sent_at) == 200
    assert len([said for said in batch.messages if "RecursionError" in said]) == 1
