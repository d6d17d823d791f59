"""Run one shard: read, render, send, journal, commit.

It is plain Python, shared by the Prefect task, the worker processes and the benchmarks.
"""

import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from mayfly.inference.cache_affinity import with_cache_keys
from mayfly.inference.circuit_breaker import CircuitBreaker
from mayfly.inference.embedding_batches import PackedTexts
from mayfly.inference.prefix_order import by_prefix
from mayfly.inference.request_builder import Renderer
from mayfly.inference.row_stream import Record
from mayfly.inference.structured_output import SchemaChecker, ValidatedResponses
from mayfly.models.errors import MayflyError, as_mayfly_error
from mayfly.models.rows import Answer, RowRequest, Tally
from mayfly.models.shards import Shard
from mayfly.shards.dedupe import Deduplication
from mayfly.storage.dataset import Chunk, Dataset
from mayfly.storage.journal import Disk, Journal, open_journal
from mayfly.storage.output_columns import CHAT, OutputColumns
from mayfly.storage.parts import read_answers, write_part
from mayfly.storage.run_paths import RunPaths
from mayfly.storage.write_watch import WriteWatch

POLL_S = 0.1

SYNC_EVERY_S = 0.5
"""A power cut may lose the answers of this interval. The death of the process loses only requests
in flight: an answer is in the kernel's page cache before its slot is used again."""


class Turns:
    """Lets one shard at a time do something that needs memory, in shard order.

    A page of a Parquet file is decoded whole and may take many MiB. The next shard reads its rows
    once this one has read its last row, which is long before that row is sent.

    Attributes:
        moves: A counter that grows while rows are read, including rows that need not be sent.
    """

    def __init__(self) -> None:
        self.moves = 0
        self._changed = threading.Condition()
        self._waiting: set[int] = set()
        self._taken = False

    @contextmanager
    def of(self, shard: Shard, check: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Hold the turn while the block lasts; `check` raises the error that ended the run."""
        with self._changed:
            self._waiting.add(shard.index)
            try:
                while self._taken or shard.index > min(self._waiting):
                    self._changed.wait(POLL_S)
                    check()
                self._taken = True
            finally:
                self._waiting.remove(shard.index)
        try:
            yield
        finally:
            with self._changed:
                self._taken = False
                self._changed.notify_all()


class RowReader(Protocol):
    """Yields the rows of a shard in chunks: a `Dataset`, or rows that the run sends."""

    def read(self, first_row: int, rows: int, columns: Sequence[str] | None) -> Iterator[Chunk]:
        """Yield consecutive rows; see `Dataset.read`."""


class AnswerSink(Protocol):
    """Stores answers as they arrive: a `Journal`, or the connection to the run that has one."""

    def append(self, answer: Answer) -> None:
        """Add an answer to the next commit."""

    def commit(self, *, sync: bool = True) -> None:
        """Write the pending answers; with `sync`, wait until they are durable."""

    def keep_up(self) -> None:
        """Wait if writing is far behind what was appended."""


class Sender(Protocol):
    """Sends requests: an engine, or a pool of workers with one engine each."""

    def check(self) -> None:
        """Raise the error that ended it, if it has ended."""

    def stop(self, reason: MayflyError, *, grace_s: float) -> None:
        """Send no further requests; those in flight may end within `grace_s` seconds."""


class AnsweringSender(Sender, Protocol):
    """A sender that takes requests from an iterator; an `Engine`."""

    def answer(
        self, requests: Iterable[RowRequest], record: Record, recorded: Callable[[Tally], object]
    ) -> Tally:
        """Answer rows; see `Engine.answer`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRequests:
    """How the rows of all shards of a run become requests.

    Attributes:
        model: The endpoint's name in requests.
        cache_keys: Whether rows with a common prefix are routed to the same replica.
        checker: Validates answers against the job's JSON Schema, if it has one.
        breaker: Ends the run when all answers have the same defect.
        reading: The order in which shards read rows for sending.
    """

    dataset: RowReader
    renderer: Renderer
    model: str
    cache_keys: bool = False
    checker: SchemaChecker | None = None
    breaker: CircuitBreaker = field(default_factory=CircuitBreaker)
    reading: Turns = field(default_factory=Turns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch(BatchRequests):
    """What the shards of a run have in common.

    Attributes:
        fingerprint: SHA-256 (hex) that ties journals and parts to the job.
        retry_failed: Whether only failed rows are sent again.
        columns: Columns that the output adds to the input's.
        deduplication: Gives duplicate rows their answers, if duplicates are not sent.
        writing: The order in which shards write their parts.
        writes: Tracks the running writes to journals.
        disk: How journals get to the disk.
    """

    dataset: Dataset
    paths: RunPaths
    fingerprint: str
    retry_failed: bool = False
    columns: OutputColumns = CHAT
    deduplication: Deduplication | None = None
    writing: Turns = field(default_factory=Turns)
    writes: WriteWatch = field(default_factory=WriteWatch)
    disk: Disk = field(default_factory=Disk)


Send = Callable[[frozenset[int], Journal], object]
"""Sends the rows of a shard, except the given ones, and writes their answers to a journal; returns
once all have been answered."""


def answer_rows(
    batch: Batch,
    shard: Shard,
    engine: AnsweringSender,
    answered_all: Callable[[], object] = lambda: None,
) -> Tally:
    """Answer the rows of one shard with an engine, then commit its part; see `complete`."""

    def send(answered: frozenset[int], journal: Journal) -> None:
        send_rows(batch, shard, answered, journal, engine)

    return complete(batch, shard, engine, send, answered_all)


def complete(
    batch: Batch,
    shard: Shard,
    sender: Sender,
    send: Send,
    answered_all: Callable[[], object] = lambda: None,
) -> Tally:
    """Send the rows of one shard that have no answer yet, then commit its part.

    A shard that already has a part is retried for its failed rows: its part is replaced, and the
    answers in it are kept.

    Args:
        answered_all: Called once nothing more is sent for the shard: its answers are in the
            journal, and its part has not been written yet.
    """
    paths = batch.paths
    journal, kept = open_journal(
        paths.journal(shard.index),
        fingerprint=batch.fingerprint,
        shard=shard,
        watch=batch.writes,
        disk=batch.disk,
    )
    part = paths.part(shard.index)
    earlier = read_answers(part, batch.columns) | kept if part.exists() else {}
    if batch.retry_failed:
        # Only failed rows are sent again; the other answers were paid for.
        found = earlier or kept
        earlier = {row: answer for row, answer in found.items() if answer.failure is None}
        answered = frozenset(earlier)
    else:
        answered = frozenset(earlier or kept)
    del kept
    duplicates = {} if batch.deduplication is None else batch.deduplication.duplicates.within(shard)
    duplicates = {row: first for row, first in duplicates.items() if row not in answered}
    with journal:
        send(answered | duplicates.keys(), journal)
        answered_all()
        answers = {**earlier, **journal.answers} if earlier else journal.answers
        if batch.deduplication is not None and duplicates:
            copied = batch.deduplication.answers(duplicates, answers, sender.check)
            answers = {**answers, **copied}
        with batch.writing.of(shard):
            return write_part(
                paths.folder,
                shard,
                batch.dataset,
                answers,
                fingerprint=batch.fingerprint,
                columns=batch.columns,
            )


def send_rows(
    batch: BatchRequests,
    shard: Shard,
    answered: frozenset[int],
    journal: AnswerSink,
    engine: AnsweringSender,
    also: Callable[[Answer], object] | None = None,
) -> None:
    """Send every row of a shard that has no answer yet, as the job requires.

    When it returns, the answers are durable in the journal. If the process is killed, only
    requests in flight are lost: an answer is written before its slot is used again.

    Args:
        also: Called with each answer.
    """
    frame = batch.renderer.frame(batch.model)
    rows = requests(batch, shard, answered, engine.check)

    def keep(answer: Answer) -> None:
        journal.append(answer)
        if also is not None:
            also(answer)

    def write(_tally: Tally) -> None:
        journal.commit(sync=False)

    def stop(reason: MayflyError) -> None:
        engine.stop(reason, grace_s=0)

    source: Iterable[RowRequest]
    record: Record
    if batch.renderer.embeds:
        source = packed = PackedTexts(rows, keep, frame=frame, breaker=batch.breaker, stop=stop)
        record = packed.record
    elif batch.checker is not None:
        source = fitting = ValidatedResponses(
            by_prefix(rows, frame),
            keep,
            checker=batch.checker,
            frame=frame,
            breaker=batch.breaker,
            stop=stop,
        )
        record = fitting.record
    else:
        source, record = by_prefix(rows, frame), keep
    if batch.cache_keys and not batch.renderer.embeds:
        source = with_cache_keys(iter(source), frame)
    with closing(rows), periodic_sync(journal, engine):
        engine.answer(with_backpressure(source, journal), record, write)
    journal.commit()


def requests(
    batch: BatchRequests, shard: Shard, answered: frozenset[int], check: Callable[[], None]
) -> Generator[RowRequest]:
    """Render the rows of a shard that have no answer yet, in batches, when it is its turn.

    Args:
        check: Raises the error that ended the run, if it has ended.
    """
    render = batch.renderer
    with batch.reading.of(shard, check):
        for chunk in batch.dataset.read(shard.first_row, shard.rows, render.needs):
            batch.reading.moves += 1
            for request in render.bodies(batch.model, chunk.first_row, chunk.columns, chunk.rows):
                if request.row not in answered:
                    yield request
                else:
                    batch.reading.moves += 1


def with_backpressure(requests: Iterable[RowRequest], journal: AnswerSink) -> Iterator[RowRequest]:
    """Yield the requests, no faster than the disk takes their answers."""
    for request in requests:
        journal.keep_up()
        yield request


@contextmanager
def periodic_sync(journal: AnswerSink, engine: Sender) -> Iterator[None]:
    """Sync the journal periodically in another thread while the block lasts.

    A failed write stops the engine: answers that cannot be stored should not be paid for.
    """
    over = threading.Event()

    def sync() -> None:
        while not over.wait(SYNC_EVERY_S):
            try:
                journal.commit()
            except Exception as error:  # noqa: BLE001 - answers would no longer be synced
                engine.stop(as_mayfly_error(error, "syncing a journal"), grace_s=0)
                return

    thread = threading.Thread(target=sync, name="journal sync", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
