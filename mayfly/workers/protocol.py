"""What a run and the processes that answer its shards say to each other."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from mayfly.inference.batch_requests import as_requests, asked_by
from mayfly.inference.circuit_breaker import CircuitBreaker
from mayfly.inference.engine import Engine, EngineSettings, Target
from mayfly.inference.request_builder import Renderer
from mayfly.inference.structured_output import SchemaChecker
from mayfly.models.errors import MayflyError
from mayfly.models.job import PromptSpec, Sampling
from mayfly.models.rows import Tally
from mayfly.models.shards import Shard
from mayfly.shards.dedupe import Deduplication
from mayfly.shards.runner import Batch
from mayfly.storage.dataset import Dataset
from mayfly.storage.media_files import MediaFiles
from mayfly.storage.output_columns import output_columns
from mayfly.storage.run_paths import RunPaths
from mayfly.workers.slots import Sample, Share, SlotAllowance


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What a worker is told first: all that it needs to answer shards; it can be pickled.

    Attributes:
        target: Where requests go; its headers hold the key, and so the way there is a pipe.
        media: Reads the files that cells name; None reads those below the input's folder.
    """

    dataset: Dataset
    prompt: PromptSpec
    sampling: Sampling
    paths: RunPaths
    fingerprint: str
    retry_failed: bool
    cache_keys: bool
    deduplication: Deduplication | None
    settings: EngineSettings
    target: Target = field(repr=False)
    media: MediaFiles | None = None

    @property
    def _files(self) -> MediaFiles:
        return self.media or MediaFiles.of(self.dataset, anywhere=False)

    def batch(self) -> Batch:
        """Return what the shards have in common; the model comes with each of them."""
        schema = self.sampling.schema_value()
        requests = asked_by(self.dataset.requests, self.prompt)
        columns = output_columns(*as_requests(self.prompt, self.sampling, requests))
        return Batch(
            dataset=self.dataset,
            renderer=Renderer(
                self.prompt,
                self.sampling,
                self.dataset.columns,
                requests=requests,
                read_file=self._files.read,
            ),
            paths=self.paths,
            model="",
            fingerprint=self.fingerprint,
            retry_failed=self.retry_failed,
            cache_keys=self.cache_keys,
            checker=None if schema is None else SchemaChecker(schema),
            columns=columns,
            breaker=CircuitBreaker(proven=self.settings.proven),
            deduplication=self.deduplication and replace(self.deduplication, columns=columns),
        )

    def engine(self, batch: Batch, allowance: SlotAllowance, say: Callable[[str], None]) -> Engine:
        """Return an engine that sends no more than it is allowed; `say` takes its messages."""
        return Engine(
            target=self.target,
            settings=self.settings,
            read=batch.renderer.read,
            limiter=allowance,
            say=say,
        )


# From the run to a worker.


class Take(NamedTuple):
    """Answer a shard; the model is what the endpoint is called in a request."""

    shard: Shard
    model: str


class Warm(NamedTuple):
    """Open so many connections."""

    connections: int


class Alive(NamedTuple):
    """The run is there, and has nothing else to say."""


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


Order = Share | Take | Warm | Alive | Proven | NothingFollows | Stop

# From a worker to the run.


class Report(NamedTuple):
    """What a worker does now.

    Attributes:
        taken: Number of the share that it goes by.
        waiting, more: Rows that it could send at once, and whether further ones will come.
        samples: What came back since the last report, for the limit.
        tallies: By index of a shard that has moved: what was found in its journal, and what has
            come since.
        messages: For people.
        failure: Why the last row failed that has failed, or "".
        reasons: How many attempts were repeated for which reason.
    """

    taken: int
    in_flight: int
    waiting: int
    more: bool
    retries: int
    hedges: int
    samples: list[Sample]
    tallies: dict[int, tuple[Tally, Tally]]
    messages: list[str]
    failure: str = ""
    reasons: Mapping[str, int] | None = None


class Answered(NamedTuple):
    """Nothing more is sent for a shard; its part is still to be written."""

    shard: int


class Ended(NamedTuple):
    """A shard has ended: with the sums of its part, or with an error.

    Attributes:
        over: Whether the worker's engine has ended: it sends nothing more for any shard.
    """

    shard: int
    tally: Tally | None = None
    error: Exception | None = None
    over: bool = False
