"""The paths of all files of a run."""

from dataclasses import dataclass
from pathlib import Path

from mayfly.models.shards import MAX_SHARDS

KEPT = "_mayfly"
"""The folder, within the output, of everything that is not a part file."""


def part_name(index: int) -> str:
    """Return the file name of a shard's part; names sort as shards do."""
    if not 0 <= index < MAX_SHARDS:
        raise ValueError(f"shard {index}: names have room for 0 to {MAX_SHARDS - 1}")
    return f"part-{index:06d}.parquet"


@dataclass(frozen=True, slots=True)
class RunPaths:
    """The paths of all files of a run; small and picklable, touches nothing.

    Attributes:
        folder: `--output`, or its work folder for an object store; holds the part files.
    """

    folder: Path

    @property
    def kept(self) -> Path:
        """Everything that is not a part file."""
        return self.folder / KEPT

    @property
    def manifest(self) -> Path:
        """The job, and which shards are done."""
        return self.kept / "manifest.json"

    @property
    def report(self) -> Path:
        """The report for programs."""
        return self.kept / "report.json"

    @property
    def report_html(self) -> Path:
        """The report for people."""
        return self.kept / "report.html"

    def reports_of(self, run: str) -> Path:
        """Return the folder of one run's own report."""
        return self.kept / "runs" / run

    @property
    def heartbeat(self) -> Path:
        """The live numbers of the current run."""
        return self.kept / "heartbeat.json"

    @property
    def metrics(self) -> Path:
        """The metrics of the last run, in Prometheus's text format."""
        return self.kept / "metrics.prom"

    @property
    def lease(self) -> Path:
        """A copy of the open lease."""
        return self.kept / "lease.json"

    @property
    def teardown(self) -> Path:
        """The proof of teardown."""
        return self.kept / "teardown.json"

    @property
    def lock(self) -> Path:
        """Locked while a run is on."""
        return self.kept / "lock"

    @property
    def dead_letters(self) -> Path:
        """Rows with an error, for inspection."""
        return self.kept / "dead_letters.parquet"

    @property
    def store_index(self) -> Path:
        """The files that an object store has as well; only in its work folder."""
        return self.kept / "store.json"

    @property
    def input(self) -> Path:
        """Copies of input files that cannot be read by position, and blocks of remote ones."""
        return self.kept / "input"

    @property
    def duplicates(self) -> Path:
        """The index of rows with identical requests."""
        return self.kept / "copies.sqlite"

    @property
    def workers_log(self) -> Path:
        """Output of worker processes that crashed."""
        return self.kept / "workers.log"

    @property
    def journals(self) -> Path:
        """The folder of journals."""
        return self.kept / "journal"

    def journal(self, index: int) -> Path:
        """The journal of a shard."""
        return self.journals / f"shard-{index:06d}.jsonl"

    def part(self, index: int) -> Path:
        """The part file of a shard."""
        return self.folder / part_name(index)
