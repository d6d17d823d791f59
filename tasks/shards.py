"""Steps: answer the rows, shard by shard.

Prefect handles tens of shards and never individual rows. Two shards run at once per sending
process (more where shards are small), so that the next shard's rows start before the last answers
of this one arrive. All shards feed one engine, which owns the event loop, the connections and the
concurrency limit; with `--runner processes` there is one engine per process, and they share the
limit.
"""

from mayfly.models.rows import Tally
from mayfly.models.shards import Shard
from mayfly.orchestration.progress_artifact import publish_progress
from mayfly.reporting.progress import Step
from mayfly.runs.run import Run
from mayfly.tasks.step import set_message, step


def answer_shards(run: Run) -> None:
    """Answer every remaining row, and return with the last answer; see `Inference.answer_all`.

    Raises:
        EndpointLost: The endpoint failed, was stopped or vanished; the answers are kept.
        RunStopped: One of the user's limits was reached.
    """
    run.progress.enter(Step.INFERRING)
    with publish_progress(run.progress):
        run.inference.answer_all(lambda shard: answer_shard.start(run, shard))


@step("answer shard", run_name="answer shard {shard.index}")
def answer_shard(run: Run, shard: Shard) -> Tally:
    """Answer the rows of one shard that have no answer yet, then commit its part file."""
    tally = run.inference.answer(shard)
    set_message(f"{tally.done:,} rows, {tally.failed:,} failed")
    return tally


def settle_shards(run: Run) -> None:
    """Wait until the parts of running shards are written; billing has already ended.

    Raises:
        TerminalError: A part could not be written, or not in time; the journals have the answers.
    """
    run.inference.settle()
