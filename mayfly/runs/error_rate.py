"""Stop a run when too many of its rows fail. Pure."""

from mayfly.models.errors import RunStopped
from mayfly.models.rows import Tally

DEFAULT_PERCENT = 50.0
NEVER_PERCENT = 100.0

MIN_ROWS, MIN_SHARE = 100, 0.01
"""The rate is checked once this many rows, and this share of all rows, are done. A rate set by the
user is checked earlier if the failed rows exceed it even when all others succeed."""


def check_error_rate(tally: Tally, *, left: int, percent: float | None, failure: str = "") -> None:
    """Check the error rate of the rows that are done.

    Args:
        tally: Totals of the run.
        left: Rows without an answer.
        percent: `--max-error-rate`; None is the default rule.
        failure: Why the last failed row failed.

    Raises:
        RunStopped: Too many rows have failed, and some are left.
    """
    limit = DEFAULT_PERCENT if percent is None else percent
    if limit >= NEVER_PERCENT or left <= 0 or tally.failed == 0:
        return
    rows = tally.done + left
    certain = percent is not None and tally.failed > limit / 100 * rows
    enough = tally.done >= max(MIN_ROWS, MIN_SHARE * rows)
    if not certain and not (enough and tally.failed > limit / 100 * tally.done):
        return
    why = f", the last with: {failure}" if failure else ""
    raise RunStopped(
        f"stopped at --max-error-rate {limit:g}: {tally.failed:,} of {tally.done:,} rows failed"
        f"{why}; {left:,} rows are left. Fix the cause and run the same command again, with "
        "--retry-failed for the rows that failed, or with --max-error-rate 100 to continue anyway"
    )
