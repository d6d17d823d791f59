"""What the job amounts to and what finished runs have taught, brought together for the plan."""

from collections.abc import Mapping
from typing import Any

import orjson

from mayfly.inference.request_builder import Renderer
from mayfly.models.endpoint import job_digest
from mayfly.models.job import Job
from mayfly.models.rows import Tally
from mayfly.planning.measurements import Measurement, measurements
from mayfly.planning.sampling import take_sample
from mayfly.planning.tokens import Seen, Workload, workload
from mayfly.storage.dataset import Dataset
from mayfly.storage.history_store import read_history
from mayfly.storage.manifest_store import load_manifest
from mayfly.storage.output_location import paths_of
from mayfly.storage.run_folder import journalled
from mayfly.storage.tokenizer import cached_tokenizer


def ask_digest(job: Job) -> str:
    """Return the 10 hex digits of what is asked: equal for runs whose answers are alike."""
    asked: dict[str, Any] = {
        "prompt": job.prompt.model_dump(mode="json"),
        "sampling": job.sampling.model_dump(mode="json"),
    }
    return job_digest(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS).decode())


def taught(folders: Mapping[str, str], provider: str) -> list[Measurement]:
    """Return what finished runs with a provider teach, oldest first."""
    return measurements(read_history(folders), provider)


def done_before(output: str, fingerprint: str) -> Tally:
    """Return the sums over what earlier runs of this very job have put into its output."""
    paths = paths_of(output)
    manifest = load_manifest(paths.manifest)
    if manifest is None or manifest.fingerprint != fingerprint:
        return Tally()
    return manifest.tally + journalled(paths, manifest)


def size_up(
    job: Job,
    dataset: Dataset,
    renderer: Renderer,
    *,
    before: Tally,
    past: list[Measurement],
    folders: Mapping[str, str],
) -> Workload:
    """Return what the rows that are left amount to, in tokens.

    Args:
        before: What earlier runs into the same output have answered.
        folders: The environment variables that say where a tokenizer may be.
    """
    sample = take_sample(dataset, renderer, job.model, count=cached_tokenizer(folders, job.model))
    sent = before.done - before.failed
    return workload(
        sample,
        rows=max(0, dataset.rows - before.done),
        model=job.model,
        ask=ask_digest(job),
        max_tokens=job.sampling.max_tokens,
        past=past,
        seen=Seen(
            rows=sent,
            prompt_tokens=before.prompt_tokens,
            completion_tokens=before.completion_tokens,
        ),
        answers=job.prompt.embed_column is None,
    )
