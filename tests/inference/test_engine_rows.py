"""Failing rows: errors of their own, or the end of a run that cannot work."""

import asyncio
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import pytest

from mayfly.inference.transport.base import Done, Reply
from mayfly.models.errors import CredentialsRefused, EndpointLost, MayflyError, TerminalError
from mayfly.models.failures import INVALID_REQUEST, NOT_FOUND, TOO_LONG, Failure
from mayfly.models.rows import Answer, RowRequest, Tally
from tests.support.fake_transport import Served as Answered
from tests.support.fake_transport import Server, engine_on, refusal, said

GOOD = said("yes")


class Served(Server):
    """Answers each row by a function; `sent` counts the requests of each row."""

    def __init__(self, serve: Callable[[int], Answered]) -> None:
        super().__init__(self._of_row)
        self._of = serve
        self.sent: dict[int, int] = {}

    def _of_row(self, request_body: dict[str, Any]) -> Answered:
        row = int(request_body["row"])
        self.sent[row] = self.sent.get(row, 0) + 1
        return self._of(row)


class Scattered(Served):
    """Answers several at a time, in any order; `most` is how many were sent and not written."""

    def __init__(self, seed: int) -> None:
        super().__init__(lambda _row: GOOD)
        self._dice = random.Random(seed)
        self.written: set[int] = set()
        self.most = 0

    def send(self, body: bytes, done: Done) -> asyncio.Handle:
        row = int(orjson.loads(body)["row"])
        self.sent[row] = self.sent.get(row, 0) + 1
        self.most = max(self.most, len(self.sent.keys() - self.written))
        reply = Reply(200, orjson.dumps(GOOD[1]), lambda _name: None)
        wait_s = self._dice.choice((0.0, 0.001, 0.002, 0.003))
        return asyncio.get_running_loop().call_later(wait_s, done, reply)


def request(row: int) -> RowRequest:
    return RowRequest(row, orjson.dumps({"row": row}))


def answers(served: Served, rows: int, **settings: Any) -> dict[int, Answer]:
    kept: dict[int, Answer] = {}

    def keep(answer: Answer) -> None:
        kept[answer.row] = answer

    with engine_on(served, **settings) as running:
        running.answer(map(request, range(rows)), keep)
    return kept


def ending(served: Served, rows: int, **settings: Any) -> MayflyError:
    with pytest.raises(MayflyError) as caught:
        answers(served, rows, **settings)
    return caught.value


def test_failing_rows_among_good_ones_are_their_own_errors() -> None:
    served = Served(lambda row: refusal(400, f"row {row}", "bad") if row % 2 else GOOD)

    kept = answers(served, 1_000)

    assert sorted(kept) == list(range(1_000))
    assert {row for row, answer in kept.items() if answer.error} == set(range(1, 1_000, 2))
    assert Failure.parse(kept[7].error or "") == Failure(INVALID_REQUEST, "row 7", 400, "bad", 1)


@pytest.mark.parametrize("status", [201, 202, 203, 206])
def test_answer_by_another_success_is_kept(status: int) -> None:
    served = Served(lambda _row: (status, *GOOD[1:]))

    (found,) = answers(served, 1).values()

    assert (found.response, found.failure) == ("yes", None)
    assert served.sent == {0: 1}


def test_single_404_cannot_stop_a_run() -> None:
    served = Served(lambda row: refusal(404) if row in (3, 499) else GOOD)

    kept = answers(served, 500, row_attempts=4)

    assert [row for row, answer in kept.items() if answer.error] == [3, 499]
    assert Failure.parse(kept[3].error or "").kind == NOT_FOUND
    assert served.sent[3] == kept[3].attempts == 4
    assert sum(served.sent.values()) == 500 + 2 * 3


@pytest.mark.parametrize("status", [401, 402])
def test_single_401_ends_the_run_at_once(status: int) -> None:
    served = Served(lambda _row: refusal(status))

    assert isinstance(ending(served, 500), CredentialsRefused)
    assert sum(served.sent.values()) <= 16


@pytest.mark.parametrize(("status", "kind"), [(403, CredentialsRefused), (404, EndpointLost)])
@pytest.mark.parametrize("rows", [1, 500])
def test_failure_of_every_row_ends_the_run_early(
    status: int, kind: type[MayflyError], rows: int
) -> None:
    served = Served(lambda _row: refusal(status))

    assert isinstance(ending(served, rows), kind)
    assert len(served.sent) <= 32


def test_request_wrong_for_every_row_ends_the_run_early() -> None:
    served = Served(lambda row: refusal(400, f"temperature: {row} is too hot"))

    error = ending(served, 10_000)

    assert isinstance(error, TerminalError)
    assert "is too hot; fix the request" in str(error)
    assert len(served.sent) < 200


def test_request_that_worked_before_is_not_blamed() -> None:
    served = Served(lambda _row: refusal(400))

    assert len(answers(served, 300, proven=True)) == 300


def test_rows_that_are_all_too_long_are_each_an_error() -> None:
    served = Served(lambda _row: refusal(400, "too many tokens", "context_length_exceeded"))

    kept = answers(served, 300)

    assert {Failure.parse(answer.error or "").kind for answer in kept.values()} == {TOO_LONG}


def test_endpoint_that_only_fails_is_left_after_some_rows() -> None:
    served = Served(lambda _row: refusal(500, "broken"))

    error = ending(served, 10_000, row_attempts=2)

    assert isinstance(error, EndpointLost)
    assert len(served.sent) < 1_000


def test_rejected_answer_is_requested_again_before_other_rows() -> None:
    served = Served(lambda _row: GOOD)
    requested_again: dict[int, int] = {}
    settled: list[int] = []

    def record(answer: Answer) -> Sequence[Answer | RowRequest] | None:
        if answer.row % 10 == 0 and answer.row not in requested_again:
            requested_again[answer.row] = len(served.sent)
            return (request(answer.row),)
        settled.append(answer.row)
        return None

    with engine_on(served) as running:
        tally = running.answer(map(request, range(100)), record)

    assert sorted(settled) == list(range(100))
    assert tally.done == 100
    assert sum(served.sent.values()) == 110
    assert all(
        settled.index(row) < request_body + 16 for row, request_body in requested_again.items()
    )


@pytest.mark.parametrize("wanting", [0, 3])
def test_rows_sent_and_not_written_never_exceed_the_limit(wanting: int) -> None:
    served = Scattered(seed=wanting)
    recorded: list[int] = []

    def record(answer: Answer) -> Sequence[Answer | RowRequest] | None:
        if wanting and answer.row % wanting == 0 and served.sent[answer.row] == 1:
            return (request(answer.row),)
        recorded.append(answer.row)
        return None

    def write(_tally: Tally) -> None:
        served.written.update(recorded)

    with engine_on(served) as running, ThreadPoolExecutor(2) as threads:
        shards = [range(first, first + 150) for first in (0, 150)]
        calls = [threads.submit(running.answer, map(request, s), record, write) for s in shards]
        done = sum(call.result().done for call in calls)

    assert done == len(served.written) == len(recorded) == 300
    assert served.most == 16


def test_error_while_recording_is_raised_to_the_row_source() -> None:
    served = Served(lambda _row: GOOD)

    def refuse(_answer: Answer) -> None:
        raise TerminalError("disk full")

    with engine_on(served) as running:
        with pytest.raises(TerminalError, match="disk full"):
            running.answer(map(request, range(500)), refuse)
        with pytest.raises(TerminalError, match="disk full"):
            running.answer(map(request, range(500)), lambda _answer: None)

    assert len(served.sent) <= 16
