"""Stop a run of whose rows too many fail: what is wrong with most rows is better fixed first.

Pure.
"""

from mayfly.models.errors import RunStopped
from mayfly.models.rows import Tally

DEFAULT_PERCENT = 50.0
NEVER_PERCENT = 100.0

MIN_ROWS, MIN_SHARE = 100, 0.01
"""A rate is judged once so many rows, and this share of all, are back. A rate that the user has set
is judged earlier where the rows that failed exceed it even if all others are answered."""


def check_error_rate(tally: Tally, *, left: int, percent: float | None, failure: str = "") -> None:
    """Judge the rows that are back.

    Args:
        tally: What the run has done.
        left: Rows without an answer.
        percent: `--max-error-rate`; None is the default rule.
        failure: Why the last row failed.

    Raises:
        RunStopped: Too many have failed, and some are left.
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
        "--retry-failed for the rows that failed, or with --max-error-rate 100 to go on regardless"
    )
