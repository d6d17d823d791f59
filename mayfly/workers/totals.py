"""The totals of a worker pool."""

from collections import Counter, deque
from collections.abc import Sequence

from mayfly.inference.concurrency import Limiter
from mayfly.inference.engine import Snapshot
from mayfly.models.rows import EMPTY_TALLY, Tally
from mayfly.workers.protocol import Report


class Totals:
    """Counts what all workers of a run have done, also those that are gone."""

    def __init__(self) -> None:
        self._tally = EMPTY_TALLY
        # A deque, because threads that write journals add to it without a lock.
        self._written: deque[Tally] = deque()
        self._retries = self._hedges = 0
        self._reasons: Counter[str] = Counter()

    @property
    def any_success(self) -> bool:
        """Whether a row has been answered without an error."""
        self._add_written()
        return self._tally.done > self._tally.failed

    def wrote(self, tally: Tally) -> None:
        """Add answers that are in a journal; called by any thread."""
        self._written.append(tally)

    def keep(self, report: Report | None) -> None:
        """Add the counters of a worker that has ended, by its last report."""
        if report is not None:
            self._retries += report.retries
            self._hedges += report.hedges
            self._reasons.update(report.reasons)

    def snapshot(self, reports: Sequence[Report], limiter: Limiter) -> Snapshot:
        """Return the state of a pool.

        Args:
            reports: The last ones of its workers.
        """
        self._add_written()
        return Snapshot(
            sum(report.in_flight for report in reports),
            limiter.limit,
            sum(report.waiting for report in reports),
            self._retries + sum(report.retries for report in reports),
            self._hedges + sum(report.hedges for report in reports),
            self._tally,
            any(report.more for report in reports),
            limiter.settled,
            next((report.failure for report in reports if report.failure), ""),
            sum((Counter(report.reasons) for report in reports), start=self._reasons),
        )

    def _add_written(self) -> None:
        while self._written:
            self._tally += self._written.popleft()
