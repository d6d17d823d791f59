"""Read the rows of an output in input order, from parts and from journals of unfinished shards."""

from collections.abc import Iterator
from dataclasses import dataclass

import mayfly.storage.part_batches as parts
from mayfly.inference.batch_requests import as_requests, asked_by, path_of
from mayfly.models.batch_lines import BatchLines
from mayfly.models.errors import BadRequest
from mayfly.models.job import PromptSpec, Sampling
from mayfly.models.manifest import Manifest
from mayfly.storage.batch_results import BatchResults
from mayfly.storage.dataset import Dataset
from mayfly.storage.journal import load_journal
from mayfly.storage.manifest_store import load_manifest
from mayfly.storage.open_input import open_dataset
from mayfly.storage.output_columns import OutputColumns, output_columns
from mayfly.storage.output_location import is_remote, paths_of
from mayfly.storage.part_batches import Batch
from mayfly.storage.remote_output import refresh_all
from mayfly.storage.run_folder import reconciled
from mayfly.storage.run_paths import RunPaths


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """The results of a run.

    Attributes:
        manifest: The manifest; its finished shards are exactly those that have a part.
        partial: Whether journals are read too.
    """

    paths: RunPaths
    manifest: Manifest
    partial: bool

    @property
    def rows_left(self) -> int:
        """Rows of shards that have no part."""
        return sum(shard.rows for shard in self.manifest.left)

    def batches(self) -> Iterator[Batch]:
        """Yield the rows in input order, in batches.

        Raises:
            TerminalError: A part is damaged.
            BadRequest: The input, which is needed for journalled rows, has changed.
        """
        source: tuple[Dataset, OutputColumns] | None = None
        for shard in self.manifest.shards:
            if shard.index in self.manifest.done:
                yield from parts.of_part(self.paths.part(shard.index), shard.first_row)
            elif self.partial:
                path, mark = self.paths.journal(shard.index), self.manifest.fingerprint
                if not (answers := load_journal(path, fingerprint=mark, shard=shard)):
                    continue
                source = source or self._source()
                yield from parts.of_journal(*source, shard, answers)

    def _source(self) -> tuple[Dataset, OutputColumns]:
        """Open the input again, for the columns of rows that are in no part yet."""
        recorded, identity = self.manifest.input, self.manifest.identity
        known = [str(name) for name, *_ in self.manifest.sources]
        dataset = open_dataset(
            recorded["uri"], limit=identity.get("limit"), known=known, beside=self.paths.input
        )
        if dataset.fingerprint != recorded["fingerprint"]:
            raise BadRequest(
                f"input {recorded['uri']} has changed since the run, and --partial reads it for "
                "the unfinished rows; restore it, or finish the run and export without --partial"
            )
        prompt, sampling = (
            kind.model_validate(
                {
                    name.partition(".")[2]: value
                    for name, value in identity.items()
                    if name.startswith(f"{group}.")
                }
            )
            for group, kind in (("prompt", PromptSpec), ("sampling", Sampling))
        )
        assert isinstance(prompt, PromptSpec)  # noqa: S101 - as made above
        assert isinstance(sampling, Sampling)  # noqa: S101
        lines = asked_by(dataset.requests, prompt)
        return dataset, output_columns(*as_requests(prompt, sampling, lines))


def read_results(output: str, *, partial: bool) -> Results:
    """Return the results of a run.

    Raises:
        BadRequest: The folder has no run, or its run is not finished and `partial` is False.
    """
    paths = refresh_all(output) if is_remote(output) else paths_of(output)
    manifest = load_manifest(paths.manifest)
    if manifest is None:
        raise BadRequest(f"{output} is not the output of a run; give the folder of its --output")
    found = Results(paths=paths, manifest=reconciled(paths, manifest), partial=partial)
    if found.rows_left and not partial:
        raise BadRequest(
            f"{output} is not finished: {found.rows_left:,} rows have no part file yet; "
            "add --partial to export what is available, or finish the run first"
        )
    return found


def batch_results(found: Results) -> BatchResults:
    """Return the converter of a run's rows to OpenAI-batch lines."""
    manifest = found.manifest
    path = "chat/completions"
    if manifest.identity.get("prompt.embed_column") is not None:
        path = "embeddings"
    elif manifest.identity.get("prompt.completions"):
        path = "completions"
    elif (asked := manifest.input.get("requests")) and not _has_prompt(manifest):
        path = path_of(BatchLines(urls=tuple(asked)))
    return BatchResults(
        fingerprint=manifest.fingerprint,
        model=str(manifest.identity["model"]),
        path=path,
        created=manifest.created_at,
    )


def _has_prompt(manifest: Manifest) -> bool:
    names = ("prompt.template", "prompt.messages_column")
    return any(manifest.identity.get(name) is not None for name in names)
