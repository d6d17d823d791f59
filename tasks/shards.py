"""Steps: answer the rows, shard by shard.

Prefect sees shards, tens of them; the rows inside never meet a Prefect object. Two shards run at
once in each process that sends, so that the next one's rows start before the last of this one are
back, more where shards are small. All feed one engine, which owns the event loop, the connections
and the limit on requests in flight; or, with `--runner processes`, one in each process, and they
share the limit.
"""

from mayfly.models.rows import Tally
from mayfly.models.shards import Shard
from mayfly.orchestration.progress_artifact import publish_progress
from mayfly.reporting.progress import Step
from mayfly.runs.run import Run
from mayfly.tasks.step import step, tell


def answer_shards(run: Run) -> None:
    """Answer every row that is left, and return with the last answer; see `Inference.answer_all`.

    Raises:
        EndpointLost: The endpoint failed, was stopped or vanished; what was answered is kept.
        RunStopped: A limit of the user's was reached.
    """
    run.progress.enter(Step.INFERRING)
    with publish_progress(run.progress):
        run.inference.answer_all(lambda shard: answer_shard.start(run, shard))


@step("answer shard", run_name="answer shard {shard.index}")
def answer_shard(run: Run, shard: Shard) -> Tally:
    """Answer the rows of one shard that have no answer yet, then commit its part file."""
    tally = run.inference.answer(shard)
    tell(f"{tally.done:,} rows, {tally.failed:,} with an error")
    return tally


def settle_shards(run: Run) -> None:
    """Wait until the parts of the shards that are under way are written; nothing bills any more.

    Raises:
        TerminalError: A part could not be written, or not in time; journals have the answers.
    """
    run.inference.settle()
