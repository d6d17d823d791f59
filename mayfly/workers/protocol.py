"""The messages between a run and its workers; see `mayfly.workers.pool`.

The run owns journals and parts. A worker renders, sends and checks, and returns answers in blocks;
each block is acknowledged once the kernel of the run's machine has it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from mayfly.inference.circuit_breaker import CircuitBreaker
from mayfly.inference.engine import Engine, EngineSettings, Target
from mayfly.inference.request_builder import Renderer
from mayfly.inference.structured_output import SchemaChecker
from mayfly.models.batch_lines import BatchLines
from mayfly.models.errors import MayflyError, as_mayfly_error
from mayfly.models.job import PromptSpec, Sampling
from mayfly.models.rows import Tally
from mayfly.models.shards import Shard
from mayfly.shards.runner import BatchRequests, RowReader
from mayfly.storage.dataset import Chunk, Dataset
from mayfly.storage.media_files import MediaFiles
from mayfly.workers.slots import Sample, Share, SlotAllowance


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """The first message to a worker: everything it needs to send rows; it can be pickled.

    Attributes:
        columns: Names of the input's columns.
        requests: Common properties of the rows, where they are OpenAI-batch requests.
        dataset: The input, for a worker that can read it; others get rows from the run.
        target: URL and headers of requests; the headers hold the key only if the connection to
            the worker is private (a pipe, or TLS).
        media: Reads the files that cells name; None where none of them may be read.
    """

    prompt: PromptSpec
    sampling: Sampling
    columns: tuple[str, ...]
    requests: BatchLines | None = None
    dataset: Dataset | None = None
    cache_keys: bool = False
    settings: EngineSettings
    target: Target = field(repr=False)
    media: MediaFiles | None = None

    def batch(self, rows: RowReader) -> BatchRequests:
        """Return the renderer and checks of requests; the model comes with each shard."""
        schema = self.sampling.schema_value()
        return BatchRequests(
            dataset=rows,
            renderer=self.renderer(),
            model="",
            cache_keys=self.cache_keys,
            checker=None if schema is None else SchemaChecker(schema),
            breaker=CircuitBreaker(proven=self.settings.proven),
        )

    def renderer(self) -> Renderer:
        """Return the renderer of requests."""
        if self.media is None:
            return Renderer(self.prompt, self.sampling, self.columns, requests=self.requests)
        return Renderer(
            self.prompt,
            self.sampling,
            self.columns,
            requests=self.requests,
            read_file=self.media.read,
            prepare_file=self.media.prepared,
        )

    def engine(
        self, renderer: Renderer, allowance: SlotAllowance, log: Callable[[str], None]
    ) -> Engine:
        """Return an engine that sends within `allowance`; `log` takes its messages."""
        return Engine(
            target=self.target,
            settings=self.settings,
            read=renderer.read,
            limiter=allowance,
            log=log,
        )


# From the run to a worker.


class Take(NamedTuple):
    """Send the rows of a shard, except those already answered.

    Attributes:
        model: The endpoint's name in requests.
        seed: Of the checksums in the shard's journal.
    """

    shard: Shard
    model: str
    seed: int
    answered: frozenset[int] = frozenset()


class Rows(NamedTuple):
    """The next rows of a shard; None at its end, or the error of reading them."""

    shard: int
    chunk: Chunk | Exception | None

    @classmethod
    def read(cls, shard: int, chunks: Iterator[Chunk]) -> "Rows":
        """Return the next rows of a shard, or the error of reading them."""
        try:
            return cls(shard, next(chunks, None))
        except Exception as error:  # noqa: BLE001 - the worker waits for whatever it is
            return cls(shard, as_mayfly_error(error, f"reading the rows of shard {shard}"))


class Written(NamedTuple):
    """A block of answers is in the shard's journal; `requests` is the number it came from."""

    shard: int
    requests: int


class Warm(NamedTuple):
    """Open connections ahead of the first request."""

    connections: int


class Alive(NamedTuple):
    """The run is alive and has nothing else to send."""


class Proven(NamedTuple):
    """Rows were answered elsewhere: the request is valid."""


class NothingFollows(NamedTuple):
    """No more than `shards` shards are sent in total."""

    shards: int
    replicas: int


class Stop(NamedTuple):
    """Send no further requests; those in flight may end within `grace_s` seconds."""

    reason: MayflyError
    grace_s: float


Command = Share | Take | Rows | Written | Warm | Alive | Proven | NothingFollows | Stop

# From a worker to the run.


class Report(NamedTuple):
    """The state of a worker.

    Attributes:
        taken: Number of the share in use.
        unwritten: Answered requests whose slots are held until the answers are written.
        waiting, more: Rows that it could send at once, and whether more will follow.
        samples: Responses since the last report, for the limiter.
        messages: Messages for people.
        failure: Why the last failed row failed, or "".
        reasons: Number of repeated attempts by reason.
    """

    taken: int
    in_flight: int
    unwritten: int
    waiting: int
    more: bool
    retries: int
    hedges: int
    samples: list[Sample]
    messages: list[str]
    failure: str = ""
    reasons: Mapping[str, int] | None = None


class RowsNeeded(NamedTuple):
    """Request the next rows of a shard."""

    shard: int


class Block(NamedTuple):
    """Answers of a shard to write and acknowledge; the next block waits for that.

    Attributes:
        lines: Lines of the shard's journal, one for each answer.
        rows: The row of each line.
        requests: Number of their requests, whose slots are held until the acknowledgement.
    """

    shard: int
    lines: bytes
    rows: Sequence[int]
    tally: Tally
    requests: int


class Ended(NamedTuple):
    """A shard has ended at the worker, and all its answers are acknowledged.

    Attributes:
        error: Why rows are left, if any are.
        over: Whether the worker's engine has ended and sends nothing for any shard.
    """

    shard: int
    error: Exception | None = None
    over: bool = False


FromWorker = Report | RowsNeeded | Block | Ended
