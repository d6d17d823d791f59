"""Preview a job: its input, its prompts and its remaining rows, without calling the API."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mayfly.inference.batch_requests import as_requests, asked_by, check_model
from mayfly.inference.request_builder import Renderer
from mayfly.inference.structured_output import SchemaChecker
from mayfly.models.errors import BadRequest
from mayfly.models.failures import NULL_PROMPT
from mayfly.models.job import Job, fingerprint
from mayfly.models.manifest import Manifest
from mayfly.models.shards import SHARDS_FOR_WORKERS, RowGroup, Shard, plan_shards
from mayfly.planning.input_faults import as_wrong_request
from mayfly.storage.dataset import Dataset
from mayfly.storage.input_files import refuse_output_below
from mayfly.storage.media_files import MediaFiles
from mayfly.storage.open_input import open_dataset
from mayfly.storage.output_columns import CHAT, OutputColumns, output_columns
from mayfly.storage.output_location import paths_of
from mayfly.storage.parts import check_columns
from mayfly.storage.run_folder import check_output, earlier_manifest, leaving_nothing_unless_begun

PREVIEW_ROWS = 8
"""Rows rendered before anything is created: enough to detect a template that cannot work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPreview:
    """What is known of a job without calling the API.

    Attributes:
        fingerprint: SHA-256 (hex) that ties the output to request, input and provider.
        provider: Identity of the API host.
        checker: Validates answers against the job's JSON Schema, if it has one.
        columns: Columns that the output adds to the input's.
        media: Reads the files that cells name.
        grown: The earlier run's manifest, with files added since then as further shards.
    """

    job: Job
    dataset: Dataset
    renderer: Renderer
    fingerprint: str
    provider: str
    checker: SchemaChecker | None = None
    columns: OutputColumns = CHAT
    media: MediaFiles | None = None
    grown: Manifest | None = None

    def manifest(self, now: float) -> Manifest:
        """Return the manifest of a run that begins `now` (Unix time, seconds)."""
        if self.grown is not None:
            return self.grown
        return Manifest(
            fingerprint=self.fingerprint,
            identity=self.job.identity(),
            input=self.dataset.describe(),
            provider=self.provider,
            shards=tuple(_shards(self.job, self.dataset.row_groups)),
            created_at=now,
        )


def preview_job(
    job: Job,
    provider: str,
    *,
    writes: bool = True,
    anywhere: bool = True,
    log: Callable[[str], object] = lambda _: None,
) -> JobPreview:
    """Read the input's footers, compile the prompt and render a few rows.

    Args:
        provider: Identity of the API host; outputs of different hosts are not mixed.
        writes: Whether a copy of the input, if one is needed, may be written to the output
            folder; otherwise it is temporary.
        anywhere: Whether cells may name files outside the input's folder, by URI.
        log: Reports long operations.

    Raises:
        BadRequest: The input, its columns or the prompt cannot work; the message says what to do.
    """
    if not writes:
        with as_wrong_request(job.input):
            return _preview(job, provider, None, log, anywhere=anywhere)
    refuse_output_below(job.input, job.output)
    check_output(job.output)
    beside = paths_of(job.output).input
    with (
        leaving_nothing_unless_begun(job.output, even_at_success=False),
        as_wrong_request(job.input),
    ):
        return _preview(job, provider, beside, log, anywhere=anywhere)


def _preview(
    job: Job,
    provider: str,
    beside: Path | None,
    log: Callable[[str], object],
    *,
    anywhere: bool,
) -> JobPreview:
    earlier = earlier_manifest(job.output)
    known = [] if earlier is None else [str(name) for name, *_ in earlier.sources]
    dataset = open_dataset(job.input, limit=job.rows.limit, known=known, beside=beside, log=log)
    requests = asked_by(dataset.requests, job.prompt)
    if requests is not None:
        check_model(requests, job.model)
    schema = job.sampling.schema_value()
    checker = None if schema is None else SchemaChecker(schema)
    columns = output_columns(*as_requests(job.prompt, job.sampling, requests))
    check_columns(dataset, columns)
    media = MediaFiles.of(dataset, anywhere=anywhere)
    renderer = Renderer(
        job.prompt,
        job.sampling,
        dataset.columns,
        requests=requests,
        read_file=media.read,
        prepare_file=media.prepared,
    )
    rendered = [
        request
        for chunk in dataset.read(0, min(PREVIEW_ROWS, dataset.rows), renderer.needs)
        for request in renderer.bodies(job.model, chunk.first_row, chunk.columns, chunk.rows)
    ]
    failures = [request.failure for request in rendered if request.failure is not None]
    broken = [failure.message for failure in failures if failure.kind != NULL_PROMPT]
    if len(broken) == len(rendered):
        raise BadRequest(
            f"input {job.input}: could not render any of the first {len(rendered)} rows "
            f"({broken[0]}); fix the prompt or the data"
        )
    dataset.check_cells(renderer.needs)
    preview = JobPreview(
        job=job,
        dataset=dataset,
        renderer=renderer,
        fingerprint=fingerprint(job.identity(), dataset.fingerprint, provider),
        provider=provider,
        checker=checker,
        columns=columns,
        media=media,
    )
    return preview if earlier is None else _after(preview, earlier)


def _after(preview: JobPreview, earlier: Manifest) -> JobPreview:
    """Return the preview to resume an output with, where the output is of the same job.

    An output keeps the fingerprint of its first run, even if its input grows.
    """
    wanted = preview.manifest(0.0)
    same = replace(preview, fingerprint=earlier.fingerprint)
    if preview.dataset.fingerprint == earlier.input["fingerprint"]:
        alike = (earlier.identity, earlier.provider) == (wanted.identity, wanted.provider)
        return same if alike else preview
    files = len(earlier.sources)
    if (
        preview.job.rows.incremental
        and earlier.grows_into(wanted)
        and preview.dataset.fingerprint_of_first(files) == earlier.input["fingerprint"]
    ):
        groups = [group for file in preview.dataset.files[files:] for group in file.groups]
        return replace(same, grown=earlier.grown(wanted, _shards(preview.job, groups)))
    return preview


def _shards(job: Job, groups: Sequence[RowGroup]) -> list[Shard]:
    at_least = 1 if job.runner == "local" else SHARDS_FOR_WORKERS
    return plan_shards(groups, shard_rows=job.limits.shard_rows, at_least=at_least)
