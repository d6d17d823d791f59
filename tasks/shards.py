"""Steps: answer the rows, shard by shard.

Prefect sees shards, tens of them; the rows inside never meet a Prefect object. Two shards run at
once in each process that sends, so that the next one's rows start before the last of this one are
back, more where shards are small. All feed one engine, which owns the event loop, the connections
and the limit on requests in flight; or, with `--runner processes`, one in each process, and they
share the limit.
"""

from collections.abc import Collection, Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue

from mayfly.models.errors import RunStopped, TimeToMove
from mayfly.models.rows import Tally
from mayfly.models.shards import Shard
from mayfly.orchestration.progress_artifact import publish_progress
from mayfly.reporting.progress import Step
from mayfly.runs.run import GRACE_S, Run
from mayfly.tasks.step import Started, step, tell

SHARDS_AT_ONCE, MOST_SHARDS = 2, 16
"""How many shards run at once for each process that sends, and how many in all: as many as that
where they are too small to fill the endpoint."""

ROWS_A_PLACE = 4
"""Rows wanted under way for each request in flight: small shards shall not be a cap on those."""

LOOK_EVERY_S = 0.5


def answer_shards(run: Run) -> None:
    """Answer every row that is left, looking after the endpoint meanwhile.

    Raises:
        EndpointLost: The endpoint failed, was stopped or vanished; what was answered is kept.
        RunStopped: A limit of the user's was reached.
    """
    run.progress.enter(Step.INFERRING)
    left = run.shards_left()
    under_way: dict[Started[Tally], Shard] = {}
    begun, ended = 0, SimpleQueue[Started[Tally]]()
    with run.sending(), publish_progress(run.progress):
        try:
            while True:
                # No more than run at once: each one more would only have to be called back.
                while left and _wants_more(run, under_way.values()):
                    future = answer_shard.start(run, shard := left.pop(0))
                    future.add_done_callback(ended.put)
                    under_way[future] = shard
                    begun += 1
                if not left:
                    run.nothing_follows(begun)
                if not under_way:
                    return
                for future in _ended(ended):
                    run.shard_done(under_way.pop(future), future.result())
                run.look_after()
        except (RunStopped, TimeToMove) as planned:
            # Nothing is wrong with the endpoint: what it is at now is paid for, and is awaited.
            run.engine.stop(planned, grace_s=GRACE_S)
            raise
        finally:
            # A later attempt opens the same journals: nobody may still write to them.
            run.stop_sending()
            for future in under_way:
                future.wait()
            run.show()


def _ended(ended: "SimpleQueue[Started[Tally]]") -> Iterator[Started[Tally]]:
    """Wait a moment for shards that have ended.

    Not by their state: that is asked of Prefect's server, which may be gone while we bill.
    """
    with suppress(Empty):
        yield ended.get(timeout=LOOK_EVERY_S)
        while True:
            yield ended.get_nowait()


def _wants_more(run: Run, under_way: Collection[Shard]) -> bool:
    if len(under_way) < SHARDS_AT_ONCE * run.processes:
        return True
    rows = sum(shard.rows for shard in under_way)
    wanted = ROWS_A_PLACE * run.engine.snapshot().limit
    return len(under_way) < MOST_SHARDS and rows < wanted


@step("answer shard", run_name="answer shard {shard.index}")
def answer_shard(run: Run, shard: Shard) -> Tally:
    """Answer the rows of one shard that have no answer yet, then commit its part file."""
    tally = run.answer(shard)
    tell(f"{tally.done:,} rows, {tally.failed:,} with an error")
    return tally
