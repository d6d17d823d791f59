"""A worker's end of the data path: rows from the run, and answers back to it."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from queue import SimpleQueue

from mayfly.inference.row_stream import Record
from mayfly.models.errors import EndpointLost
from mayfly.models.rows import EMPTY_TALLY, Answer, RowRequest, Tally
from mayfly.shards.runner import AnsweringSender
from mayfly.storage.answer_record import to_record
from mayfly.storage.dataset import Chunk
from mayfly.workers.protocol import Block, RowsNeeded
from mayfly.workers.slots import SlotAllowance

MAX_UNACKNOWLEDGED_BYTES = 32 * 2**20
"""Unacknowledged answers in bytes above which no further requests are sent."""


class SentAnswers:
    """Takes answers as a journal does, and sends them to the run in blocks.

    One block at a time awaits its acknowledgement; answers that arrive meanwhile form the next
    block. So blocks are small at low load and large at high load. Source: J. Nagle, RFC 896.
    """

    def __init__(self, shard: int, send: Callable[[Block], object]) -> None:
        self._shard, self._send = shard, send
        self._records: list[bytes] = []
        self._answers: list[Answer] = []
        self._bytes = self._requests = 0
        self._under_way = False
        self._ended_with: EndpointLost | None = None
        self._changed = threading.Condition()

    @property
    def appended(self) -> int:
        """Number of answers in the next block."""
        return len(self._records)

    def append(self, answer: Answer) -> None:
        """Add an answer to the next block."""
        record = to_record(answer)
        with self._changed:
            self._records.append(record)
            self._answers.append(answer)
            self._bytes += len(record)

    def landed(self) -> None:
        """Count a request whose answers were just appended."""
        with self._changed:
            self._requests += 1

    def commit(self, *, sync: bool = True) -> None:
        """Send the next block, unless one is unacknowledged; with `sync`, wait for the run.

        Raises:
            EndpointLost: The run is gone.
        """
        self._flush()
        if not sync:
            return
        with self._changed:
            self._changed.wait_for(
                lambda: self._ended_with or not (self._under_way or self._records or self._requests)
            )
            if self._ended_with is not None:
                raise self._ended_with

    def keep_up(self) -> None:
        """Wait for the run if its acknowledgements are far behind."""
        if self._bytes > MAX_UNACKNOWLEDGED_BYTES:
            self.commit()

    def written(self) -> None:
        """Record that the run has written the unacknowledged block."""
        with self._changed:
            self._under_way = False
            self._changed.notify_all()
        self._flush()

    def run_ended(self) -> None:
        """Release all waiters."""
        with self._changed:
            self._ended_with = EndpointLost("the run has ended")
            self._changed.notify_all()

    def _flush(self) -> None:
        with self._changed:
            if self._under_way or not (self._records or self._requests):
                return
            tally = EMPTY_TALLY.with_all(self._answers)
            block = Block(self._shard, self._records, tally, self._requests)
            self._records, self._answers, self._bytes, self._requests = [], [], 0, 0
            self._under_way = True
        self._send(block)


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
