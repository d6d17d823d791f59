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
from mayfly.planning.sampling import take_sample
from mayfly.planning.tokens import EarlierResponses, Workload, workload
from mayfly.storage.dataset import Dataset
from mayfly.storage.history_store import read_history
from mayfly.storage.manifest_store import load_manifest
from mayfly.storage.output_location import paths_of
from mayfly.storage.run_folder import journalled
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


def earlier_tally(output: str, fingerprint: str) -> Tally:
    """Return the totals of what earlier runs of this job wrote to its output."""
    paths = paths_of(output)
    manifest = load_manifest(paths.manifest)
    if manifest is None or manifest.fingerprint != fingerprint:
        return Tally()
    return manifest.tally + journalled(paths, manifest)


def is_finished(job: Job, manifest: Manifest | None, fingerprint: str) -> bool:
    """Return whether a run of this job would send nothing: every shard has its part.

    With `retry_failed` an output that has failed rows is not finished.
    """
    if manifest is None or manifest.fingerprint != fingerprint or manifest.left:
        return False
    return not (job.rows.retry_failed and manifest.tally.failed)


def estimate_workload(
    job: Job,
    dataset: Dataset,
    renderer: Renderer,
    *,
    before: Tally,
    past: list[Measurement],
    folders: Mapping[str, str],
) -> Workload:
    """Estimate the tokens of the remaining rows.

    Args:
        before: Totals of earlier runs into the same output.
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
        rows=max(0, dataset.rows - before.done + again),
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
