"""What a run and the workers that send its rows say to each other; see `mayfly.workers.pool`.

The run owns journals and parts. A worker renders, sends and checks, and hands answers over in
blocks; each block is acknowledged once the kernel of the run's machine has it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from mayfly.inference.circuit_breaker import CircuitBreaker
from mayfly.inference.engine import Engine, EngineSettings, Target
from mayfly.inference.request_builder import Renderer
from mayfly.inference.structured_output import SchemaChecker
from mayfly.models.batch_lines import BatchLines
from mayfly.models.errors import MayflyError
from mayfly.models.job import PromptSpec, Sampling
from mayfly.models.rows import Tally
from mayfly.models.shards import Shard
from mayfly.shards.runner import BatchRequests, RowReader
from mayfly.storage.dataset import Chunk, Dataset
from mayfly.storage.media_files import MediaFiles
from mayfly.workers.slots import Sample, Share, SlotAllowance


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """The first message to a worker: all that it needs to send rows; it can be pickled.

    Attributes:
        columns: Names of the input's columns.
        requests: What the rows have in common, where they are OpenAI-batch requests.
        dataset: The input, for a worker that can read it; others get rows from the run.
        target: Where requests go; its headers hold the key where the way to the worker is
            private: a pipe, or TLS.
        media: Reads the files that cells name; None where no file of this job may be read.
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
        """Return how rows become requests; the model comes with each shard."""
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
        """Return what makes requests of rows."""
        read = {} if self.media is None else {"read_file": self.media.read}
        return Renderer(self.prompt, self.sampling, self.columns, requests=self.requests, **read)

    def engine(
        self, renderer: Renderer, allowance: SlotAllowance, log: Callable[[str], None]
    ) -> Engine:
        """Return an engine that sends no more than it is allowed; `log` takes its messages."""
        return Engine(
            target=self.target,
            settings=self.settings,
            read=renderer.read,
            limiter=allowance,
            log=log,
        )


# From the run to a worker.


class Take(NamedTuple):
    """Send the rows of a shard, but for those that are answered.

    Attributes:
        model: What the endpoint is called in a request.
    """

    shard: Shard
    model: str
    answered: frozenset[int] = frozenset()


class Rows(NamedTuple):
    """The next rows of a shard; None at its end, or why they cannot be read."""

    shard: int
    chunk: Chunk | Exception | None


class Written(NamedTuple):
    """A block of answers is in the shard's journal; it was that of so many requests."""

    shard: int
    requests: int


class Warm(NamedTuple):
    """Open so many connections."""

    connections: int


class Alive(NamedTuple):
    """The run is alive and has nothing else to send."""


class Proven(NamedTuple):
    """Rows were answered elsewhere: the request is sound."""


class NothingFollows(NamedTuple):
    """No more shards come than so many, counted from the first."""

    shards: int
    replicas: int


class Stop(NamedTuple):
    """Send nothing more; requests in flight may end within the grace, in seconds."""

    reason: MayflyError
    grace_s: float


Order = Share | Take | Rows | Written | Warm | Alive | Proven | NothingFollows | Stop

# From a worker to the run.


class Report(NamedTuple):
    """What a worker does now.

    Attributes:
        taken: Number of the share that it goes by.
        unwritten: Requests that are answered, and whose slots are held until that is written.
        waiting, more: Rows that it could send at once, and whether further ones will come.
        samples: What came back since the last report, for the limit.
        messages: For people.
        failure: Why the last row failed that has failed, or "".
        reasons: How many attempts were repeated for which reason.
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


class WantRows(NamedTuple):
    """The next rows of a shard are needed."""

    shard: int


class Block(NamedTuple):
    """Answers of a shard, to be written and acknowledged; no other one is sent before that.

    Attributes:
        records: As a journal has them.
        requests: How many requests brought them: their slots are held until the acknowledgement.
    """

    shard: int
    records: Sequence[bytes]
    tally: Tally
    requests: int


class Ended(NamedTuple):
    """Nothing more is sent for a shard, and all its answers are acknowledged.

    Attributes:
        error: Why rows are left.
        over: Whether the worker's engine has ended: it sends nothing more for any shard.
    """

    shard: int
    error: Exception | None = None
    over: bool = False


FromWorker = Report | WantRows | Block | Ended
