"""Rows between the threads that render them and the loop that sends them."""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from mayfly.inference.server_error import ServerError
from mayfly.inference.transport.base import Call, Outcome
from mayfly.models.rows import EMPTY_TALLY, Answer, RowRequest, Tally

AHEAD_ROWS = 256
AHEAD_BYTES = 16 * 2**20
"""Rows that are rendered and wait, beyond as many as may be in flight: enough that the loop never
waits for one. All that wait have about so many bytes at most."""

HELD_BYTES = 192 * 2**20
"""Rows that are rendered or in flight have about so many bytes at most, however many may be sent:
a request with an image is kept until it is answered, because it may have to be repeated."""

MIN_STREAM_BYTES = 2 * 2**20
"""So much of that each stream may hold whatever others do, and one row in any case."""

TAKE = 64
"""Rows handed over at once: one wake-up of the loop for all of them."""


class Snapshot(NamedTuple):
    """What the engine is doing now.

    Attributes:
        waiting: Rows that are rendered and not under way.
        retries: Attempts that had to be repeated.
        hedges: Second requests for rows whose first was slow.
        more: Whether further rows are still to be rendered.
        settled: The limit that the search has come to, or 0.
        failure: Why the last row failed that has failed, or "".
        reasons: How many attempts were repeated for which reason.
    """

    in_flight: int
    limit: int
    waiting: int
    retries: int
    hedges: int
    tally: Tally
    more: bool = False
    settled: int = 0
    failure: str = ""
    reasons: Mapping[str, int] | None = None


Record = Callable[[Answer], Sequence[Answer | RowRequest] | None]
"""Takes an answer; see `Engine.answer`."""

ReadReply = Callable[[int, memoryview, int, float], Answer | ServerError]
"""(row, body of a 200, attempts, latency in seconds) -> answer, or the error that the body has."""


class Trouble:
    """What a row has met that was not answered at once.

    Attributes:
        failed: Attempts that count against the row's number of attempts.
        refusals: Times that it was turned away for load, which do not.
        refused_since: When that happened first; None if it did not.
        timeouts: Times that it was not answered in time, through no fault of others.
        queued_timeouts: Times that it was not because of those ahead of it.
    """

    __slots__ = ("failed", "queued_timeouts", "refusals", "refused_since", "timeouts")

    def __init__(self) -> None:
        self.failed = self.refusals = self.timeouts = self.queued_timeouts = 0
        self.refused_since: float | None = None


class Row:
    """A row on its way: its body, and what has happened to it.

    Attributes:
        attempts: Requests sent for it so far.
        flying: Those of them that are under way now; two when it is hedged.
        settled: Whether it has its answer or its error.
        timeout_s: Longest wait for its answer where that is longer than for others, or 0.
    """

    __slots__ = ("active", "attempts", "body", "row", "settled", "stream", "timeout_s", "trouble")

    def __init__(self, stream: "RowStream", request: RowRequest) -> None:
        self.stream = stream
        self.row, self.body = request.row, request.body
        self.attempts, self.timeout_s = 0, 0.0
        self.settled = False
        self.active: list[Attempt] = []
        self.trouble: Trouble | None = None

    def in_trouble(self) -> Trouble:
        """Return what it has met so far, to be added to."""
        if self.trouble is None:
            self.trouble = Trouble()
        return self.trouble


class Attempt:
    """One request under way.

    Attributes:
        began: When it was sent, in seconds on the dispatcher's clock.
        in_flight: Requests in flight when it was sent, itself included.
    """

    __slots__ = ("began", "call", "finished", "in_flight", "row")

    call: Call

    def __init__(
        self,
        row: Row,
        began: float,
        in_flight: int,
        finished: "Callable[[Attempt, Outcome], None]",
    ) -> None:
        self.row, self.began, self.in_flight, self.finished = row, began, in_flight, finished

    def done(self, outcome: Outcome) -> None:
        """Pass its outcome on."""
        self.finished(self, outcome)


class RowStream:
    """One call of `answer`: rows waiting to be sent, answers waiting to be recorded.

    Attributes:
        waiting: Rows to send.
        again: Rows to send before any other: an answer was paid for that did not settle them.
        dry: Its source had no more when it was last asked.
        error: What recording has come to, if it failed.
        last_failure: Why the last row failed that has failed, or "".
    """

    __slots__ = (
        "_fed",
        "_record",
        "_recorded",
        "_row_bytes",
        "_source",
        "_wanted_below",
        "_write",
        "again",
        "answers",
        "arrived",
        "error",
        "exhausted",
        "last_failure",
        "tally",
        "waiting",
    )

    def __init__(
        self,
        source: Iterator[RowRequest],
        record: Record,
        write: Callable[[Tally], object] = lambda _tally: None,
    ) -> None:
        self._source, self._record, self._write = source, record, write
        # Ends of a deque can be used from two threads without a lock.
        self.waiting: deque[Row] = deque()
        self.again: deque[Row] = deque()
        self.answers: deque[Answer] = deque()
        self.arrived = threading.Event()
        self.tally = EMPTY_TALLY
        self.exhausted = False
        self.last_failure = ""
        self.error: Exception | None = None
        # Each is changed by one thread only.
        self._fed = self._recorded = 0
        self._wanted_below = 0
        # Of those handed over last, on the mean: so large are the next ones thought to be.
        self._row_bytes = 1

    @property
    def unrecorded(self) -> int:
        """Rows handed over whose answers are not recorded yet."""
        return self._fed - self._recorded

    @property
    def held_bytes(self) -> int:
        """About how many bytes the rows have that are handed over and not recorded."""
        return self.unrecorded * self._row_bytes

    # For the thread that feeds it.

    def feed(self, limit: int, elsewhere: int = 0) -> bool:
        """Hand some rows over if there is room for them; whether the loop has more to do now.

        Args:
            limit: How many may be in flight.
            elsewhere: Bytes that other streams hold.
        """
        ahead = min(limit + AHEAD_ROWS, max(AHEAD_BYTES // self._row_bytes, 1))
        # Something goes on always: others may hold all of it for as long as a server is slow.
        least = max(MIN_STREAM_BYTES // self._row_bytes, 1)
        most = min(limit + ahead, max((HELD_BYTES - elsewhere) // self._row_bytes, least))
        few = (min(ahead, most, TAKE) + 1) // 2
        # Set the threshold before reading the count: else an answer between the two is missed.
        self._wanted_below = most - few
        room = most - self.unrecorded
        if room < few:
            return False
        fed = size = 0
        for request in islice(self._source, min(room, TAKE)):
            fed += 1
            size += len(request.body)
            if request.failure is not None:
                self.answers.append(Answer(request.row, None, request.failure))
            else:
                self.waiting.append(Row(self, request))
            if size > AHEAD_BYTES:
                break
        self._fed += fed
        if fed:  # What is held is still as large as it was.
            self._row_bytes = max(size // fed, 1)
        self.exhausted = not fed
        return fed > 0

    # For the loop.

    def take(self, answer: Answer) -> None:
        """Take an answer for recording."""
        self.answers.append(answer)

    def fail(self, error: Exception) -> None:
        """Let nothing more be sent: recording has failed."""
        self.error = error
        self.waiting.clear()
        self.again.clear()
        self.arrived.set()

    def record(self) -> None:
        """Record the answers that have come, and see to it that they are written."""
        settled: list[Answer] = []
        recorded = 0
        while self.answers:
            answer = self.answers.popleft()
            recorded += 1
            instead = self._record(answer)
            if instead is None:
                settled.append(answer)
                continue
            for one in instead:
                if isinstance(one, RowRequest):
                    self.again.append(Row(self, one))
                    recorded -= 1
                else:
                    settled.append(one)
        if settled:
            tally = self.tally.with_all(settled)
            if tally.failed > self.tally.failed:
                self.last_failure = next(a.error or "" for a in reversed(settled) if a.failure)
            self._write(tally)
            self.tally = tally
        self._recorded += recorded
        if not self.unrecorded or (self.unrecorded <= self._wanted_below and not self.exhausted):
            self.arrived.set()
