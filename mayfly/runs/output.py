"""The output folder of a run: its remaining, finished and failed rows."""

import threading
from dataclasses import replace
from typing import Any

import orjson

from mayfly.inference.circuit_breaker import CircuitBreaker
from mayfly.models.errors import TerminalError
from mayfly.models.rows import Tally
from mayfly.models.shards import Shard
from mayfly.planning.preview import JobPreview
from mayfly.reporting.html import page
from mayfly.reporting.output_stats import Results, read_results
from mayfly.reporting.progress import Progress
from mayfly.reporting.report import run_record
from mayfly.shards.dedupe import Deduplication, find_duplicates
from mayfly.shards.failed_rows import (
    commit_answered,
    merge_journals,
    shards_to_retry,
    update_dead_letters,
)
from mayfly.shards.requests import RequestSource
from mayfly.shards.runner import Batch, Turns
from mayfly.storage.atomic import write_atomically
from mayfly.storage.dedupe_index import DuplicateIndex
from mayfly.storage.run_folder import RunFolder, journalled
from mayfly.storage.write_watch import WriteWatch


class Output:
    """The output folder, while the run holds its lock.

    Shards end in threads of their own; a lock serialises their changes to the manifest.

    Attributes:
        reading: The order in which shards read rows.
        writes: Tracks the running writes to journals.
    """

    def __init__(
        self, preview: JobPreview, folder: RunFolder, *, progress: Progress, started_at: float
    ) -> None:
        """Merge what an earlier run left in the folder, and find the rows to send.

        Args:
            started_at: Start of the run, Unix time in seconds.
        """
        self.paths = folder.paths
        self._preview, self._folder, self._progress = preview, folder, progress
        self._source = RequestSource(preview.dataset, preview.renderer, preview.job.model)
        self._recording = threading.Lock()
        self.reading, self._writing, self.writes = Turns(), Turns(), WriteWatch()
        self._done_now: set[int] = set()
        merge_journals(preview.dataset, preview.columns, folder)
        deduplication = self._find_duplicates() if preview.job.rows.dedupe else None
        commit_answered(preview.dataset, preview.columns, folder, deduplication)
        self._to_retry: dict[int, int] = {}
        resumed = self.total
        if preview.job.rows.retry_failed:
            self._to_retry = shards_to_retry(folder)
            again = sum(self._to_retry.values())
            resumed = resumed._replace(done=resumed.done - again, failed=resumed.failed - again)
        progress.update(rows=preview.dataset.rows, resumed=resumed)
        if deduplication is not None and self._to_retry:
            # Answers that were copied from parts which this run replaces.
            deduplication.duplicates.forget_answers()
            deduplication = replace(
                deduplication, again=frozenset(self._to_retry), since=started_at
            )
        self.deduplication = deduplication

    def shards_left(self) -> list[Shard]:
        """Return the unfinished shards; with `retry_failed`, also those with failed rows."""
        manifest = self._folder.manifest
        return [
            shard
            for shard in manifest.shards
            if shard.index not in manifest.done
            or (shard.index in self._to_retry and shard.index not in self._done_now)
        ]

    @property
    def rows_left(self) -> int:
        """Rows of the remaining shards."""
        return sum(shard.rows for shard in self.shards_left())

    @property
    def total(self) -> Tally:
        """Totals of the whole output, earlier runs included."""
        return self._folder.manifest.tally + journalled(self.paths, self._folder.manifest)

    @property
    def usd_before(self) -> float:
        """What earlier runs into this output have cost, in dollars."""
        return sum(float(run["cost"]["usd"]) for run in self._folder.manifest.runs)

    def batch(self, model: str, breaker: CircuitBreaker, *, cache_keys: bool = False) -> Batch:
        """Return what the shards have in common.

        Args:
            model: The name of the endpoint in requests.
            breaker: Circuit breaker of the engine.
            cache_keys: Whether the endpoint may have several replicas.
        """
        preview = self._preview
        return Batch(
            dataset=preview.dataset,
            renderer=preview.renderer,
            paths=self.paths,
            model=model,
            fingerprint=preview.fingerprint,
            retry_failed=preview.job.rows.retry_failed,
            cache_keys=cache_keys,
            checker=preview.checker,
            columns=preview.columns,
            breaker=breaker,
            deduplication=self.deduplication,
            reading=self.reading,
            writing=self._writing,
            writes=self.writes,
        )

    def record_done(self, shard: Shard, tally: Tally) -> None:
        """Record a shard whose part is committed; from any thread."""
        with self._recording:
            self._folder.record_done(shard.index, tally)
            self._done_now.add(shard.index)
            if self.deduplication is not None:
                copied = len(self.deduplication.duplicates.within(shard))
                self._progress.update(copied=self._progress.snapshot().copied + copied)
            update_dead_letters(self._source, self._folder, changed=[shard.index])

    def read_results(self) -> Results:
        """Read the parts for the report, after updating the dead letters."""
        with self._recording:
            update_dead_letters(self._source, self._folder)
        return read_results(
            self.paths,
            self._folder.manifest,
            self._preview.renderer.needs,
            self._preview.job.prompt.image_columns,
        )

    def write_report(self, report: dict[str, Any]) -> None:
        """Write the run's own report, and the manifest's record of the run.

        `report.json` and `report.html` remain those of the last run that sent requests: repeating
        a finished command costs nothing and must not replace them.

        Raises:
            TerminalError: They could not be written, such as on a full disk.
        """
        with self._recording:
            self._folder.commit(self._folder.manifest.with_run(run_record(report)))
        texts = {
            self.paths.report: orjson.dumps(report, option=orjson.OPT_INDENT_2),
            self.paths.report_html: page(report).encode(),
        }
        own = self.paths.reports_of(report["run"])
        try:
            own.mkdir(parents=True, exist_ok=True)
            for path, text in texts.items():
                write_atomically(own / path.name, text)
            if "inferring" in report["seconds"] or not self.paths.report.exists():
                for path, text in texts.items():
                    write_atomically(path, text)
        except OSError as error:
            raise TerminalError(
                f"the report in {own} cannot be written: {error.strerror}; every answer is kept; "
                "free some disk space and run the same command again"
            ) from error

    def _find_duplicates(self) -> Deduplication:
        preview = self._preview
        # A row may copy one of any shard.
        self._folder.fetch_parts(self._folder.manifest.done)
        key = DuplicateIndex.key_of(preview.fingerprint, preview.dataset.fingerprint)
        return Deduplication(
            duplicates=find_duplicates(self._source, self.paths, key=key),
            paths=self.paths,
            fingerprint=preview.fingerprint,
            shards=self._folder.manifest.shards,
            columns=preview.columns,
        )
