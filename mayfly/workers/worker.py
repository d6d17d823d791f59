"""A worker: answers shards in a process of its own, and sends what it is allowed to.

It has an engine with an allowance in the place of a limit. The other end of its connection is
`mayfly.workers.pool`. When that end is gone, nothing more is sent.
"""

import pickle
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from typing import Any

from mayfly.models.errors import EndpointLost, TerminalError
from mayfly.models.rows import Tally
from mayfly.shards.runner import answer_rows
from mayfly.storage.parts import warm_up
from mayfly.workers.protocol import (
    Alive,
    Answered,
    Assignment,
    Ended,
    NothingFollows,
    Order,
    Proven,
    Report,
    Stop,
    Take,
    Warm,
)
from mayfly.workers.slots import Share, SlotAllowance

TICK_S = 0.02
"""How often a worker says what it does: places that it does not need are others' after so long."""

AT_LEAST_EVERY_S = 1.0
"""How often it does when nothing has changed: it lives."""


class ShardWorker:
    """One worker; `serve` is its life."""

    def __init__(self, connection: "Connection[Any, Any]", assignment: Assignment) -> None:
        self._connection = connection
        self._batch = assignment.batch()
        self._allowance = SlotAllowance(keeping=assignment.settings.concurrency is None)
        self._messages: deque[str] = deque()
        self._engine = assignment.engine(self._batch, self._allowance, self._messages.append)
        self._tallies: dict[int, tuple[Tally, Tally]] = {}
        self._last: tuple[object, ...] = ()
        self._said_at = 0.0
        self._noting, self._saying = threading.Lock(), threading.Lock()
        self._over = threading.Event()

    @property
    def ended(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._engine.ended

    def serve(
        self,
        *,
        ends: Sequence[int] = (),
        gone: Callable[[], object] = lambda: None,
        silence_s: float | None = None,
    ) -> None:
        """Do what is asked until the other end is gone.

        Args:
            ends: File descriptors that become readable when it is gone, beside the connection.
            gone: Called at once then.
            silence_s: How long it may say nothing before it counts as gone: over a network nobody
                else tells.
        """
        reporter = threading.Thread(target=self._report_often, name="reports", daemon=True)
        with self._engine:
            reporter.start()
            threading.Thread(target=warm_up, name="warm-up", daemon=True).start()
            try:
                while wait([self._connection, *ends], silence_s) == [self._connection]:
                    self._do(self._connection.recv())
            except (EOFError, OSError):
                pass
            gone()
            self._over.set()
            self._engine.stop(EndpointLost("the run has ended"), grace_s=0)

    def _do(self, order: Order) -> None:
        engine = self._engine
        match order:
            case Share():
                engine.allow(lambda: self._allowance.take(order))
            case Take():
                threading.Thread(target=self._answer, args=(order,), daemon=True).start()
            case Warm(connections):
                engine.warm(connections)
            case NothingFollows(shards, replicas):
                engine.nothing_follows(calls=shards, replicas=replicas)
            case Alive():
                return
            case Proven():
                self._batch.breaker.prove()
                engine.proven()
            case Stop(reason, grace_s):
                engine.stop(reason, grace_s=grace_s)

    def _answer(self, order: Take) -> None:
        index = order.shard.index

        def note(found: Tally, since: Tally) -> None:
            with self._noting:
                self._tallies[index] = found, since

        batch = replace(self._batch, model=order.model)
        try:
            tally = answer_rows(
                batch,
                order.shard,
                self._engine,
                note,
                lambda: self._report(then=Answered(index)),
            )
            ended = Ended(index, tally=tally)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the run's to know
            ended = Ended(index, error=_portable(error), over=self._engine.ended)
        self._report(then=ended)

    def _report_often(self) -> None:
        while not self._over.wait(TICK_S):
            self._report()

    def _report(self, then: Answered | Ended | None = None) -> None:
        """Say what this worker does now, and then what has become of a shard."""
        # One at a time: what is said of a shard must not come after that it has ended.
        with self._saying:
            # What it goes by first: the number in flight is bound by that share or a later one.
            taken, look = self._allowance.taken, self._engine.snapshot()
            samples = self._allowance.samples()
            with self._noting:
                tallies, self._tallies = self._tallies, {}
            state = taken, look.in_flight, look.waiting, look.more, look.retries, look.hedges
            now = time.monotonic()
            messages = [self._messages.popleft() for _ in range(len(self._messages))]
            due = state != self._last or now - self._said_at > AT_LEAST_EVERY_S
            try:
                if samples or tallies or messages or due:
                    self._last, self._said_at = state, now
                    self._connection.send(
                        Report(*state, samples, tallies, messages, look.failure, look.reasons)
                    )
                if then is not None:
                    self._connection.send(then)
            except OSError:  # The other end is gone, and `serve` knows.
                self._over.set()


def _portable(error: Exception) -> Exception:
    """Return an error that can be pickled and read again."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    except Exception:  # noqa: BLE001 - some cannot be made of their arguments
        return TerminalError(f"{type(error).__name__}: {error}")
    return error
