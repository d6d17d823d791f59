"""Rows on their way: what the loop and the threads that feed it hand to each other."""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from tasks.core.rows import NOTHING, Answer, RowRequest, Tally

if TYPE_CHECKING:
    from tasks.inference.sender import Attempt

TAKE = 64
"""Rows handed over at once: one wake-up of the loop for all of them."""


class Snapshot(NamedTuple):
    """What the engine is doing now.

    Attributes:
        waiting: Rows that are rendered and not under way.
        retries: Attempts that had to be repeated.
        hedges: Second requests for rows whose first was slow.
    """

    in_flight: int
    limit: int
    waiting: int
    retries: int
    hedges: int
    tally: Tally


Record = Callable[[Answer], Sequence[Answer] | None]

ReadReply = Callable[[int, memoryview, int, float], Answer]
"""(row, body of a 200, attempts, latency in seconds) -> answer; raises Unreadable."""


class Row:
    """A row on its way: its body, and what has happened to it.

    Attributes:
        attempts: Requests sent for it so far.
        flying: Those of them that are under way now; two when it is hedged.
    """

    __slots__ = ("attempts", "body", "flying", "row", "stream")

    def __init__(self, stream: "Stream", request: RowRequest) -> None:
        self.stream = stream
        self.row, self.body = request.row, request.body
        self.attempts = 0
        self.flying: list[Attempt] = []


class Stream:
    """One call of `answer`: rows waiting to be sent, answers waiting to be recorded.

    Attributes:
        unrecorded: Rows handed over whose answers are not recorded yet.
        dry: Its source had no more when it was last asked.
    """

    __slots__ = ("_source", "answers", "arrived", "dry", "tally", "unrecorded", "waiting")

    def __init__(self, source: Iterator[RowRequest]) -> None:
        self._source = source
        # Ends of a deque can be used from two threads without a lock.
        self.waiting: deque[Row] = deque()
        self.answers: deque[Answer] = deque()
        self.arrived = threading.Event()
        self.tally = NOTHING
        self.unrecorded = 0
        self.dry = False

    # For the thread that feeds it.

    def feed(self, read_ahead: int) -> bool:
        """Hand some rows over if there is room for them; whether the loop has more to do now."""
        room = read_ahead - self.unrecorded
        if room < TAKE // 2:
            return False
        fed = 0
        for request in islice(self._source, min(room, TAKE)):
            fed += 1
            if request.error:
                self.answers.append(Answer(request.row, None, request.error))
                self.arrived.set()
            else:
                self.waiting.append(Row(self, request))
        self.unrecorded += fed
        self.dry = not fed
        return fed > 0

    def record(self, record: Record) -> bool:
        """Record the answers that have come; whether there were any."""
        self.arrived.clear()
        settled: list[Answer] = []
        came = len(self.answers)
        for _ in range(came):
            answer = self.answers.popleft()
            instead = record(answer)
            if instead is None:
                settled.append(answer)
            else:
                settled += instead
            self.unrecorded -= 1
        self.tally = self.tally.with_all(settled)
        return came > 0

    # For the loop.

    def take(self, answer: Answer) -> None:
        """Take an answer for recording."""
        self.answers.append(answer)
        if not self.arrived.is_set():
            self.arrived.set()
