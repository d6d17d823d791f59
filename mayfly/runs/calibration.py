"""Calibrate: measure hardware with some of the job's own rows, to decide which to use.

The answers are journalled like all others, so that no row is paid for twice.
"""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

from mayfly.clock import SYSTEM_CLOCK
from mayfly.inference.engine import Engine
from mayfly.models.errors import RunStalled, RunStopped
from mayfly.models.rows import Answer
from mayfly.models.shards import Shard
from mayfly.planning.throughput import extrapolate_throughput, mean_in_flight, work
from mayfly.runs.run import Run
from mayfly.shards.runner import send_rows
from mayfly.storage.journal import open_journal

FEW_SHARE = 4
"""One row in this many is sent with few requests in flight."""

FEW_ROUNDS, MANY_ROUNDS = 8, 4
"""How often the slots are refilled, with few in flight and with many. The further apart the two
concurrencies are, the smaller is the error of the extrapolation. 100 rows distinguish hardware
that differs by half, 250 rows by a quarter (measured on the emulator)."""

EXTRAPOLATION_LIMIT = 16.0
"""Extrapolate the throughput to at most this multiple of the measured requests in flight."""

CHECK_EVERY_S = 0.5


class Round(NamedTuple):
    """The measurement of some rows, sent at one concurrency."""

    in_flight: float
    seconds_per_work: float
    rows: int


class Trial(NamedTuple):
    """The calibration of one kind of hardware.

    Attributes:
        work_per_s: Work per second of one replica with all slots in use.
        slots: Requests in flight that the rate is for.
    """

    work_per_s: float
    slots: float
    rows: int


def measure_rows(run: Run, rows: int) -> Trial | None:
    """Answer some rows on the endpoint in use; return None when too few are left to measure.

    The rows are sent in two rounds, with few requests in flight and with many. The difference in
    latency gives the throughput of a replica with all slots in use, without filling them.

    Raises:
        EndpointLost: The endpoint failed, was stopped or vanished; the answers are kept.
        RunStopped: One of the user's limits was reached.
    """
    few, many = rows // FEW_SHARE, rows - rows // FEW_SHARE
    rounds = [
        found
        for count, turns in (
            ((few, FEW_ROUNDS), (many, MANY_ROUNDS)) if few >= 2 else ((rows, MANY_ROUNDS),)
        )
        if (found := _round(run, count, max(1, count // turns))) is not None
    ]
    if not rounds:
        return None
    first, last = rounds[0], rounds[-1]
    session = run.provisioner.session
    slots = float(run.job.limits.concurrency or session.first_limit)
    # Few rows say little about a very high concurrency, so the extrapolation is bounded.
    slots = min(slots, EXTRAPOLATION_LIMIT * last.in_flight)
    rate, at = extrapolate_throughput(first[:2], last[:2], slots)
    trial = Trial(rate, at, sum(found.rows for found in rounds))
    session.record_calibration(
        {
            "work_per_s": round(rate, 3),
            "in_flight": round(at, 1),
            "rows": trial.rows,
            "measured": [
                {"in_flight": round(r.in_flight, 2), "seconds_per_work": r.seconds_per_work}
                for r in rounds
            ],
        }
    )
    return trial


def _round(run: Run, rows: int, concurrency: int) -> Round | None:
    """Answer some rows at a fixed concurrency and measure the seconds per unit of work."""
    kept: list[tuple[float, Answer]] = []
    engine = run.inference.open(concurrency=concurrency)
    assert isinstance(engine, Engine)  # noqa: S101 - `open` with a number makes one
    call = run.inference.start(partial(_answer_some, run, engine, rows, kept), name="try rows")
    try:
        while not call.ended_within(CHECK_EVERY_S):
            run.monitor.check()
        call.result()
        run.monitor.check()
    except (RunStopped, RunStalled) as ended:
        run.inference.stop(ended, grace_s=run.timeouts.grace_s)
        raise
    # The next round opens the same journals. If the endpoint is lost, `settle` awaits this one.
    run.inference.close()
    good = [(at, answer) for at, answer in kept if answer.failure is None and answer.latency_s > 0]
    total = sum(
        work(a.prompt_tokens or 0, a.cached_tokens or 0, a.completion_tokens or 0) for _, a in good
    )
    if len(good) < 2 or total <= 0:
        return None
    latency_s = sum(answer.latency_s for _, answer in good)
    met = mean_in_flight([(at - answer.latency_s, at) for at, answer in good])
    return Round(max(1.0, met), latency_s / total, len(good))


def _answer_some(run: Run, engine: Engine, rows: int, kept: list[tuple[float, Answer]]) -> None:
    """Answer `rows` rows that have no answer yet, through the journals of their shards."""
    batch, left = run.inference.batch, rows
    for shard in _untouched(run):
        journal, known = open_journal(
            batch.paths.journal(shard.index),
            fingerprint=batch.fingerprint,
            shard=shard,
            watch=batch.writes,
            disk=batch.disk,
        )
        with journal:
            mine = range(shard.first_row, shard.end_row)
            wanted = [row for row in mine if row not in known][:left]

            def also(answer: Answer) -> None:
                # The engine measures latencies with this clock too.
                kept.append((SYSTEM_CLOCK.monotonic(), answer))

            if wanted:
                others = frozenset(mine).difference(wanted)
                send_rows(batch, shard, others, journal, engine, also)
        left -= len(wanted)
        if not left:
            return


def _untouched(run: Run) -> Iterator[Shard]:
    """Yield the shards that have no part yet: all rows of the others were sent before."""
    return (
        shard
        for shard in run.output.shards_left()
        if not run.output.paths.part(shard.index).exists()
    )
