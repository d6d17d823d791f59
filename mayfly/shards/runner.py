"""Answering one shard: read, render, send, journal, commit. Plain Python, so that a Prefect task,
a process of its own and a benchmark do the very same thing.
"""

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial

from mayfly.inference.cache_affinity import with_cache_keys
from mayfly.inference.circuit_breaker import CircuitBreaker
from mayfly.inference.embedding_batches import PackedTexts
from mayfly.inference.engine import Engine
from mayfly.inference.prefix_order import by_beginning
from mayfly.inference.request_builder import Renderer
from mayfly.inference.row_stream import Record
from mayfly.inference.structured_output import SchemaChecker, ValidatedResponses
from mayfly.models.errors import MayflyError, TerminalError
from mayfly.models.rows import NOTHING, Answer, RowRequest, Tally
from mayfly.models.shards import Shard
from mayfly.shards.dedupe import Deduplication
from mayfly.storage.dataset import Dataset
from mayfly.storage.journal import Journal, open_journal
from mayfly.storage.output_columns import CHAT, OutputColumns
from mayfly.storage.parts import read_answers, write_part
from mayfly.storage.run_paths import RunPaths

LOOK_EVERY_S = 0.1

SYNC_EVERY_S = 0.5
"""What a power cut may cost: the answers of this long. The death of the process costs what was in
flight: what has come is in the kernel's hands before anything is sent in its place."""


class Turns:
    """What one shard at a time does, the first of those that wait: reading forward, in little room.

    A page of a Parquet file is decoded whole, and may have many MiB. The next shard reads its rows
    when this one has read its last, which is long before that is sent.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: set[int] = set()
        self._taken = False

    @contextmanager
    def of(self, shard: Shard, go_on: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Have the turn for as long as the block lasts; `go_on` raises what has ended the run."""
        with self._changed:
            self._waiting.add(shard.index)
            try:
                while self._taken or shard.index > min(self._waiting):
                    self._changed.wait(LOOK_EVERY_S)
                    go_on()
                self._taken = True
            finally:
                self._waiting.remove(shard.index)
        try:
            yield
        finally:
            with self._changed:
                self._taken = False
                self._changed.notify_all()


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What the shards of a run have in common.

    Attributes:
        model: What the endpoint is called in a request.
        fingerprint: SHA-256 (hex) that ties journals and parts to the job.
        cache_keys: Whether rows that begin alike are kept on one of several replicas.
        retry_failed: Only rows with an error are asked again.
        checker: Says whether an answer fits the job's JSON Schema, if it has one.
        columns: Those of the output, beside the input's.
        breaker: Ends the run when what is found wrong with answers is wrong with all of them.
        copying: How rows come by the answers of rows that ask the same, if those are not sent.
        reading, writing: Whose turn it is to read rows for sending, and to write a part.
    """

    dataset: Dataset
    renderer: Renderer
    paths: RunPaths
    model: str
    fingerprint: str
    retry_failed: bool = False
    cache_keys: bool = False
    checker: SchemaChecker | None = None
    columns: OutputColumns = CHAT
    breaker: CircuitBreaker = field(default_factory=CircuitBreaker)
    deduplication: Deduplication | None = None
    reading: Turns = field(default_factory=Turns)
    writing: Turns = field(default_factory=Turns)


def answer_rows(
    batch: Batch,
    shard: Shard,
    engine: Engine,
    note: Callable[[Tally, Tally], object] | None = None,
    answered_all: Callable[[], object] = lambda: None,
) -> Tally:
    """Answer the rows of one shard that have no answer yet, then commit its part file.

    A shard that has a part already is one whose rows with an error are asked again: its part is
    replaced, and the answers that it holds are kept.

    Args:
        note: Called at first, and after every few answers that are in the journal, with the sums
            over what was found and over what has come since.
        answered_all: Called once nothing more is sent for the shard: its answers are in the
            journal, and its part is still to be written.
    """
    paths = batch.paths
    journal, kept = open_journal(
        paths.journal(shard.index), fingerprint=batch.fingerprint, shard=shard
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
    found_before = NOTHING
    if note is not None:
        known = earlier or kept
        found_before = NOTHING.with_all([known[row] for row in answered])
        note(found_before, NOTHING)
    del kept
    duplicates = {} if batch.deduplication is None else batch.deduplication.duplicates.within(shard)
    duplicates = {row: first for row, first in duplicates.items() if row not in answered}
    with journal:
        written = None if note is None else partial(note, found_before)
        ask(batch, shard, answered | duplicates.keys(), journal, engine, written=written)
        answered_all()
        answers = {**earlier, **journal.answers} if earlier else journal.answers
        if batch.deduplication is not None and duplicates:
            copied = batch.deduplication.answers(duplicates, answers, engine.check)
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


def ask(
    batch: Batch,
    shard: Shard,
    answered: frozenset[int],
    journal: Journal,
    engine: Engine,
    also: Callable[[Answer], object] | None = None,
    written: Callable[[Tally], object] | None = None,
) -> None:
    """Ask every row of a shard that has no answer yet, in the way that the job needs.

    When it returns, the journal has the answers on the disk. When the process is killed, those are
    lost that were in flight: the others were written before anything was sent in their place.

    Args:
        also: Is given each answer too.
        written: Is given the sums over all answers so far, after some more were written.
    """
    frame = batch.renderer.frame(batch.model)
    rows = requests(batch, shard, answered, engine.check)

    def keep(answer: Answer) -> None:
        journal.append(answer)
        if also is not None:
            also(answer)

    def write(tally: Tally) -> None:
        journal.commit(sync=False)
        if written is not None:
            written(tally)

    def stop(reason: MayflyError) -> None:
        engine.stop(reason, grace_s=0)

    source: Iterable[RowRequest]
    record: Record
    if batch.renderer.embeds:
        source = packed = PackedTexts(rows, keep, frame=frame, breaker=batch.breaker, stop=stop)
        record = packed.record
    elif batch.checker is not None:
        source = fitting = ValidatedResponses(
            by_beginning(rows, frame),
            keep,
            checker=batch.checker,
            frame=frame,
            breaker=batch.breaker,
            stop=stop,
        )
        record = fitting.record
    else:
        source, record = by_beginning(rows, frame), keep
    if batch.cache_keys and not batch.renderer.embeds:
        source = with_cache_keys(iter(source), frame)
    with closing(rows), periodic_sync(journal, engine):
        engine.answer(held_up(source, journal), record, write)
    journal.commit()


def requests(
    batch: Batch, shard: Shard, answered: frozenset[int], go_on: Callable[[], None]
) -> Generator[RowRequest]:
    """Render the rows of a shard that have no answer yet, a batch at a time, when it is its turn.

    Args:
        go_on: Raises what has ended the run.
    """
    render = batch.renderer
    with batch.reading.of(shard, go_on):
        for chunk in batch.dataset.read(shard.first_row, shard.rows, render.needs):
            for request in render.bodies(batch.model, chunk.first_row, chunk.columns, chunk.rows):
                if request.row not in answered:
                    yield request


def held_up(requests: Iterable[RowRequest], journal: Journal) -> Iterator[RowRequest]:
    """Yield the requests, no faster than the disk takes what comes of them."""
    for request in requests:
        journal.keep_up()
        yield request


@contextmanager
def periodic_sync(journal: Journal, engine: Engine) -> Iterator[None]:
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
