"""Steps: answer the rows, shard by shard.

Prefect sees shards, tens of them; the rows inside never meet a Prefect object. Two shards run at
once so that the next one's rows start before the last of this one are back; both feed one engine,
which owns the event loop, the connections and the limit on requests in flight.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from prefect import get_run_logger
from prefect.futures import PrefectFuture

from tasks.core.errors import RunStopped, TerminalError
from tasks.core.rows import RowRequest, Tally
from tasks.core.sharding import Shard
from tasks.inference.engine import Engine
from tasks.progress import Step
from tasks.run import GRACE_S, Run
from tasks.step import step
from tasks.storage.journal import Journal, open_journal
from tasks.storage.parts import read_answers, write_part

SHARDS_AT_ONCE = 2
LOOK_EVERY_S = 0.5
COMMIT_EVERY_S = 0.5
"""What a power cut may cost: the answers of this long."""


def answer_shards(run: Run) -> None:
    """Answer every row that is left, looking after the endpoint meanwhile.

    Raises:
        EndpointLost: The endpoint failed, was stopped or vanished; what was answered is kept.
        RunStopped: A limit of the user's was reached.
    """
    run.progress.enter(Step.INFERRING)
    left = iter(run.shards_left())
    under_way: dict[PrefectFuture[Tally], Shard] = {}
    with run.sending():
        try:
            while True:
                # No more than run at once: each one more would only have to be called back.
                while len(under_way) < SHARDS_AT_ONCE and (shard := next(left, None)) is not None:
                    under_way[answer_shard.submit(run, shard)] = shard
                if not under_way:
                    return
                next(iter(under_way)).wait(timeout=LOOK_EVERY_S)
                for future in [future for future in under_way if future.state.is_final()]:
                    run.shard_done(under_way.pop(future), future.result())
                run.look_after()
        except RunStopped as stopped:
            run.engine.stop(stopped, grace_s=GRACE_S)
            raise
        finally:
            # A later attempt opens the same journals: nobody may still write to them.
            run.stop_sending()
            for future in under_way:
                future.wait()
            run.show()


@step("answer shard", run_name="answer shard {shard.index}")
def answer_shard(run: Run, shard: Shard) -> Tally:
    """Answer the rows of one shard that have no answer yet, then commit its part file."""
    dataset, paths = run.look.dataset, run.paths
    journal, kept = open_journal(
        paths.journal(shard.index), fingerprint=run.fingerprint, shard=shard
    )
    earlier = read_answers(part) if (part := paths.part(shard.index)).exists() else {}
    if run.job.rows.retry_failed:
        # Only rows with an error are asked again; what was answered was paid for.
        earlier = {row: answer for row, answer in (earlier | kept).items() if not answer.error}
        answered = frozenset(earlier)
    else:
        answered = frozenset(kept)
    del kept
    with journal:
        with committed_often(journal, run.engine):
            run.engine.answer(requests(run, shard, answered), journal.append)
        journal.commit()
        answers = journal.answers if not earlier else {**earlier, **journal.answers}
        tally = write_part(paths.folder, shard, dataset, answers, fingerprint=run.fingerprint)
    get_run_logger().info("%d rows, %d with an error", tally.done, tally.failed)
    return tally


def requests(run: Run, shard: Shard, answered: frozenset[int]) -> Iterator[RowRequest]:
    """Render the rows of a shard that have no answer yet, a batch at a time."""
    look, model = run.look, run.tenancy.ref.inference_name
    for chunk in look.dataset.read(shard.first_row, shard.rows, look.renderer.needs):
        for request in look.renderer.bodies(model, chunk.first_row, chunk.columns, chunk.rows):
            if request.row not in answered:
                yield request


@contextmanager
def committed_often(journal: Journal, engine: Engine) -> Iterator[None]:
    """Commit the journal now and then while the block lasts, beside the answers' way.

    A disk that takes no more stops the engine: answers that cannot be kept should not be bought.
    """
    over = threading.Event()

    def commit() -> None:
        while not over.wait(COMMIT_EVERY_S):
            try:
                journal.commit()
            except TerminalError as error:
                engine.stop(error, grace_s=0)
                return

    thread = threading.Thread(target=commit, name="journal commit", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
