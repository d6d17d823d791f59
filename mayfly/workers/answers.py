"""A worker's end of the data path: rows from the run, and answers back to it."""

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from queue import SimpleQueue

from mayfly.inference.row_stream import Record
from mayfly.models.errors import EndpointLost
from mayfly.models.rows import EMPTY_TALLY, Answer, RowRequest, Tally
from mayfly.shards.runner import AnsweringSender
from mayfly.storage.dataset import Chunk
from mayfly.storage.journal import answer_line
from mayfly.workers.protocol import Block, RowsNeeded
from mayfly.workers.slots import SlotAllowance

BLOCK_EVERY_S = 0.004
"""Least time between two blocks of few answers, in seconds."""

BLOCK_ROWS = 32
"""Number of answers from which a block does not wait for `BLOCK_EVERY_S`."""

MAX_UNACKNOWLEDGED_BYTES = 32 * 2**20
"""Unacknowledged answers in bytes above which no further requests are sent."""


class SentAnswers:
    """Takes answers as a journal does, and sends them to the run in blocks.

    One block at a time awaits its acknowledgement; answers that arrive meanwhile form the next
    block. So blocks are small at low load and large at high load. Source: J. Nagle, RFC 896. A
    block wakes the run and this process, so a small one is also delayed until `BLOCK_EVERY_S` after
    the last one. Blocks are sent, and acknowledged, on the engine's loop, where answers arrive.

    Args:
        seed: Of the checksums in the shard's journal.
        send: Sends a block; it must not wait.
        allow: Calls a function on the loop, or at once if that has ended; see `Engine.allow`.

    Attributes:
        appended: Number of answers so far.
    """

    def __init__(
        self,
        shard: int,
        seed: int,
        *,
        send: Callable[[Block], object],
        allow: Callable[[Callable[[], object]], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shard, self._seed = shard, seed
        self._send, self._allow, self._clock = send, allow, clock
        self.appended = 0
        self._lines: list[bytes] = []
        self._answers: list[Answer] = []
        self._bytes = self._requests = 0
        self._sent_at = -math.inf
        self._under_way = self._syncing = False
        self._ended_with: EndpointLost | None = None
        self._flushing, self._changed = threading.Lock(), threading.Condition()

    def append(self, answer: Answer) -> None:
        """Add an answer to the next block."""
        line = answer_line(answer, self._seed)
        self._lines.append(line)
        self._answers.append(answer)
        self._bytes += len(line)
        self.appended += 1

    def landed(self) -> None:
        """Count a request whose answers were just appended."""
        self._requests += 1

    def commit(self, *, sync: bool = True) -> None:
        """Send the next block if it is due; with `sync`, send all and wait for the run.

        Raises:
            EndpointLost: The run is gone.
        """
        if not sync:
            self._flush_due()
            return
        with self._changed:
            self._syncing = True
        self._allow(self._flush)
        with self._changed:
            self._changed.wait_for(
                lambda: self._ended_with or not (self._under_way or self._answers)
            )
            self._syncing = False
            if self._ended_with is not None:
                raise self._ended_with

    def keep_up(self) -> None:
        """Wait for the run if its acknowledgements are far behind."""
        if self._bytes > MAX_UNACKNOWLEDGED_BYTES:
            self.commit()

    def written(self) -> None:
        """Record that the run has written the unacknowledged block; called on the loop."""
        with self._changed:
            self._under_way = False
            self._changed.notify_all()
        if self._syncing:
            self._flush()
        else:
            self._flush_due()

    def flush_delayed(self) -> None:
        """Send a block that was delayed; called at every tick."""
        if self._answers and not self._under_way:
            self._allow(self._flush)

    def run_ended(self) -> None:
        """Release all waiters."""
        with self._changed:
            self._ended_with = EndpointLost("the run has ended")
            self._changed.notify_all()

    def _flush_due(self) -> None:
        if self._under_way or not self._answers:
            return
        if len(self._answers) >= BLOCK_ROWS or self._clock() - self._sent_at >= BLOCK_EVERY_S:
            self._flush()

    def _flush(self) -> None:
        # The lock is for after the loop's end, when any thread flushes.
        with self._flushing:
            if self._under_way or not self._answers:
                return
            # First, so that `commit` always sees one of both.
            self._under_way, self._sent_at = True, self._clock()
            lines, self._lines = self._lines, []
            answers, self._answers = self._answers, []
            requests, self._requests = self._requests, 0
            self._bytes = 0
        self._send(
            Block(
                self._shard,
                b"".join(lines),
                [answer.row for answer in answers],
                EMPTY_TALLY.with_all(answers),
                requests,
            )
        )


class AcknowledgedSender:
    """An engine for one shard that frees a slot once the run has written its answers."""

    def __init__(
        self, engine: AnsweringSender, answers: SentAnswers, allowance: SlotAllowance
    ) -> None:
        self._engine, self._answers, self._allowance = engine, answers, allowance
        self.check, self.stop = engine.check, engine.stop

    def answer(
        self, requests: Iterable[RowRequest], record: Record, recorded: Callable[[Tally], object]
    ) -> Tally:
        """Answer rows; see `Engine.answer`."""
        answers, allowance = self._answers, self._allowance

        def counted(answer: Answer) -> Sequence[Answer | RowRequest] | None:
            before = answers.appended
            more = record(answer)
            if answers.appended != before:
                answers.landed()
                allowance.unwritten += 1
            return more

        return self._engine.answer(requests, counted, recorded)


class CarriedRows:
    """The rows of one shard as the run sends them, prefetched by one chunk."""

    def __init__(self, shard: int, send: Callable[[RowsNeeded], object]) -> None:
        self._shard, self._send = shard, send
        self._arrived: SimpleQueue[Chunk | Exception | None] = SimpleQueue()

    def arrived(self, chunk: Chunk | Exception | None) -> None:
        """Accept a chunk from the run."""
        self._arrived.put(chunk)

    def run_ended(self) -> None:
        """Release all waiters."""
        self._arrived.put(EndpointLost("the run has ended"))

    def read(self, first_row: int, rows: int, columns: Sequence[str] | None) -> Iterator[Chunk]:
        """Yield the rows of the shard; the run knows which rows and columns.

        Raises:
            MayflyError: The run cannot read them, or is gone.
        """
        del first_row, rows, columns
        self._send(RowsNeeded(self._shard))
        while (chunk := self._arrived.get()) is not None:
            if isinstance(chunk, Exception):
                raise chunk
            self._send(RowsNeeded(self._shard))
            yield chunk
