"""When a run counts as one that does not move."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mayfly.inference.row_stream import Snapshot
from mayfly.models.errors import RunStalled
from mayfly.models.rows import EMPTY_TALLY
from mayfly.models.timeouts import Timeouts
from mayfly.runs.stalls import StallDetector
from mayfly.storage.write_watch import WriteWatch
from tests.support.held import held_elsewhere

IDLE = Snapshot(0, 8, 0, 0, 0, EMPTY_TALLY)


class SetClock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        """Return what it is set to."""
        return self.now

    def time(self) -> float:
        """Return the same."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Pass at once."""
        self.now += seconds


class Watched:
    """A detector and what it watches."""

    def __init__(self) -> None:
        self.clock, self.read = SetClock(), 0
        self.writes = WriteWatch(self.clock.monotonic)
        self.detector = StallDetector(
            self.writes,
            lambda: self.read,
            output="answers",
            timeouts=Timeouts(write_hang_s=10, idle_s=100),
            clock=self.clock,
        )

    def check_after(self, seconds: float, engine: Snapshot = IDLE) -> None:
        """Let time pass and check."""
        self.clock.sleep(seconds)
        self.detector.check(engine)


@contextmanager
def writing(writes: WriteWatch) -> Iterator[None]:
    """Be in a write for as long as the block lasts."""
    writes.begin(Path("shard-000000.jsonl"))
    try:
        yield
    finally:
        writes.end()


def test_write_that_does_not_return_stalls_the_run_though_requests_are_in_flight() -> None:
    watched, busy = Watched(), IDLE._replace(in_flight=8)
    with held_elsewhere(writing(watched.writes)):
        watched.check_after(9, busy)
        with pytest.raises(RunStalled, match=r"output answers .* for 11 s .*shard-000000.jsonl"):
            watched.check_after(2, busy)

    watched.check_after(1, busy)


def test_writes_that_return_are_forgotten_however_many_there_are() -> None:
    watched = Watched()
    for _ in range(50):
        with held_elsewhere(writing(watched.writes)):
            watched.check_after(1)

    assert watched.writes.longest() is None


def test_endpoint_that_is_asked_nothing_stalls_the_run() -> None:
    watched = Watched()
    watched.check_after(1)
    watched.check_after(99)

    with pytest.raises(RunStalled, match="no row could be read, rendered or written for 1 min"):
        watched.check_after(2)


@pytest.mark.parametrize(
    "engine", [IDLE._replace(in_flight=1), IDLE._replace(waiting=1)], ids=["in flight", "waiting"]
)
def test_requests_under_way_or_waiting_for_load_are_no_stall(engine: Snapshot) -> None:
    watched = Watched()
    for _ in range(5):
        watched.check_after(99, engine)


def test_reading_of_rows_that_are_not_sent_is_no_stall() -> None:
    watched = Watched()
    for _ in range(5):
        watched.read += 1
        watched.check_after(99)


def test_time_before_the_engine_is_opened_is_not_counted() -> None:
    watched = Watched()
    watched.check_after(1)
    watched.clock.sleep(500)

    watched.detector.begin()

    watched.check_after(1)
