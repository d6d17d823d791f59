"""Pass rows from the threads that render them to the loop that sends them."""

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
"""Rows rendered ahead, beyond those that may be in flight, so that the loop never waits for one;
and the approximate limit of their total size."""

HELD_BYTES = 192 * 2**20
"""Approximate limit of the size of all rows that are rendered or in flight: a request with an image
is kept until it is answered, because it may have to be retried."""

MIN_STREAM_BYTES = 2 * 2**20
"""Part of that limit that each stream may always use; one row is always allowed."""

TAKE = 64
"""Rows passed on at once, with one wake-up of the loop."""


class Snapshot(NamedTuple):
    """The engine's current state.

    Attributes:
        waiting: Rows that are rendered but not in flight.
        retries: Number of retries.
        hedges: Number of second requests for slow rows.
        more: Whether rows remain to be rendered.
        settled: The limit that the search has settled at, or 0.
        failure: The error of the latest failed row, or "".
        reasons: Number of retries by reason.
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
"""Receives an answer; see `Engine.answer`."""

ReadReply = Callable[[int, bytes, int, float], Answer | ServerError]
"""(row, body of a 200, attempts, latency in seconds) -> answer, or the error in the body."""


class Trouble:
    """Counters of a row that was not answered at once.

    Attributes:
        failed: Attempts that count against the row's maximum.
        refusals: Refusals because of load, which do not count.
        refused_since: Time of the first refusal; None if there was none.
        refused_alone: Refusals between which most other rows were answered at once.
        counted_from: Time of the last of these, and the numbers of rows that were answered at once
            and that were refused until then.
        timeouts: Timeouts due to the row itself.
        queued_timeouts: Timeouts due to requests queued ahead of it.
    """

    __slots__ = (
        "counted_from",
        "failed",
        "queued_timeouts",
        "refusals",
        "refused_alone",
        "refused_since",
        "timeouts",
    )

    def __init__(self) -> None:
        self.refused_alone, self.counted_from = 0, (0.0, 0, 0)
        self.failed = self.refusals = self.timeouts = self.queued_timeouts = 0
        self.refused_since: float | None = None


class Row:
    """A row in the engine: its body and state.

    Attributes:
        attempts: Requests sent for it so far.
        active: Its requests in flight; two if it is hedged.
        settled: Whether it has an answer or an error.
        timeout_s: Its timeout if longer than the general one, or 0.
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
        """Return its counters, creating them if necessary."""
        if self.trouble is None:
            self.trouble = Trouble()
        return self.trouble


class Attempt:
    """One request in flight.

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
        """Report its outcome."""
        self.finished(self, outcome)


class RowStream:
    """One call of `Engine.answer`: rows waiting to be sent, answers waiting to be recorded.

    Attributes:
        waiting: Rows to send.
        answers: Answers to record, which the loop appends.
        again: Rows to send before all others: they have been paid for, but are not settled.
        exhausted: Whether its source has no more rows.
        error: The error of recording, if it failed.
        last_failure: The error of the latest failed row, or "".
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
        # The ends of a deque can be used from two threads without a lock.
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
        # Mean size of the last rows passed on, as an estimate for the next ones.
        self._row_bytes = 1

    @property
    def unrecorded(self) -> int:
        """Rows passed on with answers that are not recorded yet."""
        return self._fed - self._recorded

    @property
    def held_bytes(self) -> int:
        """Approximate size of the rows passed on and not recorded yet."""
        return self.unrecorded * self._row_bytes

    # For the thread that feeds it.

    def feed(self, limit: int, elsewhere: int = 0) -> bool:
        """Pass on some rows if there is room; return whether the loop has more to send.

        Args:
            limit: Maximum requests in flight.
            elsewhere: Bytes that other streams hold.
        """
        ahead = min(limit + AHEAD_ROWS, max(AHEAD_BYTES // self._row_bytes, 1))
        # A minimum is always allowed: other streams may hold everything while a server is slow.
        least = max(MIN_STREAM_BYTES // self._row_bytes, 1)
        most = min(limit + ahead, max((HELD_BYTES - elsewhere) // self._row_bytes, least))
        few = (min(ahead, most, TAKE) + 1) // 2
        # Set the threshold before reading the count, or an answer in between is missed.
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
        if fed:  # Otherwise the estimate stays.
            self._row_bytes = max(size // fed, 1)
        self.exhausted = not fed
        return fed > 0

    # For the loop.

    def fail(self, error: Exception) -> None:
        """Stop sending, because recording has failed."""
        self.error = error
        self.waiting.clear()
        self.again.clear()
        self.arrived.set()

    def record(self) -> None:
        """Record and write the answers that have arrived."""
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
