"""Answering one shard: read, render, send, journal, commit. Plain Python, so that a Prefect task,
a process of its own and a benchmark do the very same thing.
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
from mayfly.models.errors import MayflyError, TerminalError
from mayfly.models.rows import Answer, RowRequest, Tally
from mayfly.models.shards import Shard
from mayfly.shards.dedupe import Deduplication
from mayfly.storage.dataset import Chunk, Dataset
from mayfly.storage.journal import Journal, open_journal
from mayfly.storage.output_columns import CHAT, OutputColumns
from mayfly.storage.parts import read_answers, write_part
from mayfly.storage.run_paths import RunPaths
from mayfly.storage.write_watch import WriteWatch

POLL_EVERY_S = 0.1

SYNC_EVERY_S = 0.5
"""What a power cut may cost: the answers of this long. The death of the process costs what was in
flight: what has come is in the kernel's hands before anything is sent in its place."""


class Turns:
    """What one shard at a time does, the first of those that wait: reading forward, in little room.

    A page of a Parquet file is decoded whole, and may have many MiB. The next shard reads its rows
    when this one has read its last, which is long before that is sent.

    Attributes:
        moves: A number that grows while reading goes on, of rows too that need not be sent.
    """

    def __init__(self) -> None:
        self.moves = 0
        self._changed = threading.Condition()
        self._waiting: set[int] = set()
        self._taken = False

    @contextmanager
    def of(self, shard: Shard, check: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Have the turn for as long as the block lasts; `check` raises what has ended the run."""
        with self._changed:
            self._waiting.add(shard.index)
            try:
                while self._taken or shard.index > min(self._waiting):
                    self._changed.wait(POLL_EVERY_S)
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
    """Yields the rows of a shard in chunks; a `Dataset`, or what the run sends to a worker."""

    def read(self, first_row: int, rows: int, columns: Sequence[str] | None) -> Iterator[Chunk]:
        """Yield consecutive rows; see `Dataset.read`."""


class AnswerSink(Protocol):
    """Where answers are kept as they come: a `Journal`, or the way to the run that has one."""

    def append(self, answer: Answer) -> None:
        """Take an answer for the next commit."""

    def commit(self, *, sync: bool = True) -> None:
        """Write what is waiting; with `sync`, wait until it is safe."""

    def keep_up(self) -> None:
        """Wait if what is kept is far behind what was appended."""


class Sender(Protocol):
    """What sends requests: an engine, or workers that have one each."""

    def check(self) -> None:
        """Raise what ended it, if it has ended."""

    def stop(self, reason: MayflyError, *, grace_s: float) -> None:
        """Send nothing more."""


class AnsweringSender(Sender, Protocol):
    """A sender that is fed with requests; an `Engine`."""

    def answer(
        self, requests: Iterable[RowRequest], record: Record, recorded: Callable[[Tally], object]
    ) -> Tally:
        """Answer rows; see `Engine.answer`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRequests:
    """How the rows of all shards of a run become requests.

    Attributes:
        model: What the endpoint is called in a request.
        cache_keys: Whether rows that begin alike are kept on one of several replicas.
        checker: Says whether an answer fits the job's JSON Schema, if it has one.
        breaker: Ends the run when what is found wrong with answers is wrong with all of them.
        reading: Whose turn it is to read rows for sending.
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
        retry_failed: Only rows with an error are asked again.
        columns: Those of the output, beside the input's.
        deduplication: How rows come by the answers of rows that ask the same, if those are not
            sent.
        writing: Whose turn it is to write a part.
        writes: Knows which writes to journals are under way.
    """

    dataset: Dataset
    paths: RunPaths
    fingerprint: str
    retry_failed: bool = False
    columns: OutputColumns = CHAT
    deduplication: Deduplication | None = None
    writing: Turns = field(default_factory=Turns)
    writes: WriteWatch = field(default_factory=WriteWatch)


Send = Callable[[frozenset[int], Journal], object]
"""Has the rows of a shard answered, but for those that are given; their answers go into a journal.
Returns once all are there."""


def answer_rows(
    batch: Batch,
    shard: Shard,
    engine: AnsweringSender,
    answered_all: Callable[[], object] = lambda: None,
) -> Tally:
    """Answer the rows of one shard by an engine, then commit its part file; see `complete`."""

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
    """Have the rows of one shard sent that have no answer yet, then commit its part file.

    A shard that has a part already is one whose rows with an error are asked again: its part is
    replaced, and the answers that it holds are kept.

    Args:
        answered_all: Called once nothing more is sent for the shard: its answers are in the
            journal, and its part is still to be written.
    """
    paths = batch.paths
    journal, kept = open_journal(
        paths.journal(shard.index),
        fingerprint=batch.fingerprint,
        shard=shard,
        watch=batch.writes,
    )
    part = paths.part(shard.index)
    earlier = read_answers(part, batch.columns) | kept if part.exists() else {}
    if batch.retry_failed:
        # Only rows with an error are asked again; what was answered was paid for.
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
    """Ask every row of a shard that has no answer yet, in the way that the job needs.

    When it returns, the journal has the answers on the disk. When the process is killed, those are
    lost that were in flight: the others were written before anything was sent in their place.

    Args:
        also: Is given each answer too.
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
    """Render the rows of a shard that have no answer yet, a batch at a time, when it is its turn.

    Args:
        go_on: Raises what has ended the run.
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
    """Yield the requests, no faster than the disk takes what comes of them."""
    for request in requests:
        journal.keep_up()
        yield request


@contextmanager
def periodic_sync(journal: AnswerSink, engine: Sender) -> Iterator[None]:
    """Bring the journal to the disk now and then while the block lasts, beside the answers' way.

    A disk that takes no more stops the engine: answers that cannot be kept should not be bought.
    """
    over = threading.Event()

    def sync() -> None:
        while not over.wait(SYNC_EVERY_S):
            try:
                journal.commit()
            except TerminalError as error:
                engine.stop(error, grace_s=0)
                return

    thread = threading.Thread(target=sync, name="journal sync", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
