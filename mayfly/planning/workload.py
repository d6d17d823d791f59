"""Estimate a job's workload from a sample of its rows and from finished runs."""

from collections.abc import Mapping
from typing import Any

import orjson

from mayfly.inference.request_builder import Renderer
from mayfly.models.endpoint import job_digest
from mayfly.models.job import Job
from mayfly.models.manifest import Manifest
from mayfly.models.rows import Tally
from mayfly.planning.input_faults import as_wrong_request
from mayfly.planning.measurements import Measurement, measurements
from mayfly.planning.preview import JobPreview
from mayfly.planning.sampling import take_sample
from mayfly.planning.tokens import EarlierResponses, Workload, workload
from mayfly.storage.dataset import Dataset
from mayfly.storage.dedupe_index import DuplicateIndex
from mayfly.storage.history_store import read_history
from mayfly.storage.manifest_store import load_manifest
from mayfly.storage.output_location import paths_of
from mayfly.storage.rows_left import no_duplicates, nothing_left
from mayfly.storage.run_folder import journalled, reconciled
from mayfly.storage.tokenizer import cached_tokenizer


def prompt_digest(job: Job) -> str:
    """Return 10 hex digits of prompt and sampling: equal for runs with comparable answers."""
    asked: dict[str, Any] = {
        "prompt": job.prompt.model_dump(mode="json"),
        "sampling": job.sampling.model_dump(mode="json"),
    }
    return job_digest(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS).decode())


def past_measurements(folders: Mapping[str, str], provider: str) -> list[Measurement]:
    """Return the measurements of finished runs with a provider, oldest first."""
    return measurements(read_history(folders), provider)


def earlier_tally(output: str, manifest: Manifest | None) -> Tally:
    """Return the totals of what earlier runs of this job wrote to its output."""
    if manifest is None:
        return Tally()
    return manifest.tally + journalled(paths_of(output), manifest)


def earlier_runs(preview: JobPreview) -> Manifest | None:
    """Return the manifest of earlier runs of a job, with what its parts say; writes nothing."""
    paths = paths_of(preview.job.output)
    manifest = preview.grown or load_manifest(paths.manifest)
    if manifest is None or manifest.fingerprint != preview.fingerprint:
        return None
    return reconciled(paths, manifest)


def is_finished(preview: JobPreview, manifest: Manifest | None) -> bool:
    """Return whether a run of this job would send nothing; it may still write parts.

    With `retry_failed` an output that has failed rows to send is not finished.

    Args:
        manifest: Of the earlier runs.
    """
    if manifest is None:
        return False
    paths, rows = paths_of(preview.job.output), preview.job.rows
    index = None
    if rows.dedupe:
        key = DuplicateIndex.key_of(preview.fingerprint, preview.dataset.fingerprint)
        index = DuplicateIndex.existing(paths.duplicates, key=key)
    return nothing_left(
        paths,
        manifest,
        retry_failed=rows.retry_failed,
        duplicates_of=no_duplicates if index is None else index.within,
    )


def estimate_workload(
    job: Job,
    dataset: Dataset,
    renderer: Renderer,
    *,
    before: Tally,
    finished: bool,
    past: list[Measurement],
    folders: Mapping[str, str],
) -> Workload:
    """Estimate the tokens of the remaining rows.

    Args:
        before: Totals of earlier runs into the same output.
        finished: Whether nothing is left to send.
        folders: The environment variables that name where a tokenizer may be cached.
    """
    with as_wrong_request(job.input):
        sample = take_sample(
            dataset, renderer, job.model, count=cached_tokenizer(folders, job.model)
        )
    sent = before.done - before.failed
    again = before.failed if job.rows.retry_failed else 0
    return workload(
        sample,
        rows=0 if finished else max(0, dataset.rows - before.done + again),
        model=job.model,
        prompt_key=prompt_digest(job),
        max_tokens=job.sampling.max_tokens,
        past=past,
        earlier=EarlierResponses(
            rows=sent,
            prompt_tokens=before.prompt_tokens,
            completion_tokens=before.completion_tokens,
        ),
        answers=job.prompt.embed_column is None,
    )
