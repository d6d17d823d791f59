"""A worker: sends the rows of a run's shards within its slot allowance.

Its engine has an allowance instead of a limit. It stores nothing: answers go to the run. The other
end of its connection is `mayfly.workers.pool`; when that end closes, it sends nothing more.
"""

import pickle
import select
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from mayfly.models.errors import EndpointLost, TerminalError
from mayfly.shards.runner import send_rows
from mayfly.workers.answers import AcknowledgedSender, CarriedRows, SentAnswers
from mayfly.workers.background import in_background
from mayfly.workers.channel import Channel, shut_down
from mayfly.workers.protocol import (
    Alive,
    Assignment,
    Command,
    Ended,
    FromWorker,
    NothingFollows,
    Proven,
    Report,
    Rows,
    Stop,
    Take,
    Warm,
    Written,
)
from mayfly.workers.slots import Share, SlotAllowance

TICK_S = 0.02
"""Interval of reports: unused slots go to other workers after this time."""

AT_LEAST_EVERY_S = 1.0
"""Interval of reports when nothing has changed, as a heartbeat."""

_GONE = select.POLLHUP | select.POLLERR | select.POLLNVAL


class ShardWorker:
    """One worker; `serve` runs it.

    Args:
        silence_s: Seconds without a message after which the run counts as gone; None where the
            end of the connection shows it. Over a network only silence does. Nothing is sent
            after that, not even by a process that was paused in the meantime.
    """

    def __init__(
        self,
        connection: "Connection[Any, Any]",
        assignment: Assignment,
        *,
        silence_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._channel, self._assignment = Channel(connection), assignment
        self._silence_s, self._clock = silence_s, clock
        self._heard_at = clock()
        rows = assignment.dataset or CarriedRows(-1, self._send)
        self._batch = assignment.batch(rows)
        self._allowance = SlotAllowance(
            collects=assignment.settings.concurrency is None, valid=self._run_is_heard
        )
        self._messages: deque[str] = deque()
        self._engine = assignment.engine(
            self._batch.renderer, self._allowance, self._messages.append
        )
        self._answers: dict[int, SentAnswers] = {}
        self._rows: dict[int, CarriedRows] = {}
        self._last: tuple[object, ...] = ()
        self._reported_at = 0.0
        self._reporting = threading.Lock()
        self._over = threading.Event()

    @property
    def ended(self) -> bool:
        """Whether the worker can send nothing more."""
        return self._engine.ended

    def serve(
        self, *, ends: Sequence[int] = (), on_end: Callable[[], object] = lambda: None
    ) -> None:
        """Execute commands until the other end is gone.

        Args:
            ends: Further file descriptors that become readable when the run is gone.
            on_end: Called at once when it is.
        """
        with self._engine:
            self._engine.when_readable(self._channel.fileno(), self._receive)
            try:
                self._watch(ends)
            except Exception:  # noqa: BLE001 - whatever it is, the run replaces this worker
                self._give_up()
            on_end()
            self._engine.stop(EndpointLost("the run has ended"), grace_s=0)
            for answers in [*self._answers.values()]:
                answers.run_ended()
            for rows in [*self._rows.values()]:
                rows.run_ended()
        self._channel.close()

    def _watch(self, ends: Sequence[int]) -> None:
        """Report at every tick, until the run is gone."""
        poll = select.poll()
        poll.register(self._channel, 0)  # Its end is always an event.
        for end in ends:
            poll.register(end, select.POLLIN)
        while not any(file in ends or event & _GONE for file, event in poll.poll(1e3 * TICK_S)):
            if self._over.is_set() or not self._run_is_heard():
                return
            if not self._engine.alive:
                # In place of its loop: shards that have ended wait until the run has their last
                # answers, which may be more than the connection takes in many ticks.
                self._receive()
                left = self._flush()
                poll.modify(self._channel, select.POLLIN | (select.POLLOUT if left else 0))
            for answers in [*self._answers.values()]:
                answers.flush_delayed()
            self._report()

    def _receive(self) -> bool:
        """Execute the commands that have arrived; return whether more may follow.

        Called on the engine's loop, so that an acknowledgement frees its slots at once.
        """
        try:
            for command in self._channel.receive():
                if not self._run_is_heard():
                    # The run has already replaced this worker.
                    break
                self._heard_at = self._clock()
                self._do(command)
            else:
                return True
        except (EOFError, OSError):  # The other end is gone.
            pass
        except Exception:  # noqa: BLE001 - on the loop, nobody else sees it
            self._give_up()
        self._over.set()
        return False

    def _run_is_heard(self) -> bool:
        return self._silence_s is None or self._clock() - self._heard_at <= self._silence_s

    def _do(self, command: Command) -> None:
        engine = self._engine
        match command:
            case Take() | Rows() | Written():
                self._do_for_shard(command)
            case Share():
                self._allowance.take(command)
            case Warm(connections):
                engine.warm(connections)
            case NothingFollows(shards, replicas):
                engine.hedge_after(calls=shards, replicas=replicas)
            case Alive():
                return
            case Proven():
                self._batch.breaker.prove()
                engine.proven()
            case Stop(reason, grace_s):
                engine.stop(reason, grace_s=grace_s)

    def _do_for_shard(self, command: Take | Rows | Written) -> None:
        match command:
            case Take(shard):
                # In this thread, so that the next command for the shard finds it.
                self._answers[shard.index] = SentAnswers(
                    shard.index, command.seed, send=self._send, allow=self._engine.allow
                )
                self._rows[shard.index] = CarriedRows(shard.index, self._send)
                self._in_background(partial(self._answer, command), name=f"shard {shard.index}")
            case Rows(index, chunk):
                if (rows := self._rows.get(index)) is not None:
                    rows.arrived(chunk)
            case Written(index, requests):
                self._allowance.written(requests)
                if (answers := self._answers.get(index)) is not None:
                    answers.written()

    def _answer(self, command: Take) -> None:
        index = command.shard.index
        answers, carried = self._answers[index], self._rows[index]
        batch = replace(
            self._batch, model=command.model, dataset=self._assignment.dataset or carried
        )
        sender = AcknowledgedSender(self._engine, answers, self._allowance)
        try:
            try:
                send_rows(batch, command.shard, command.answered, answers, sender)
            finally:
                # Answers go to the run, whatever ended the shard.
                answers.commit()
            ended = Ended(index)
        except Exception as error:  # noqa: BLE001 - the run needs any error
            ended = Ended(index, error=_portable(error), over=self._engine.ended)
        del self._answers[index], self._rows[index]
        self._report()
        self._send(ended)

    def _report(self) -> None:
        """Report the worker's state if it has changed."""
        with self._reporting:
            # Read the share first: the number in flight is bounded by that share or a later one.
            taken, now_s = self._allowance.taken, self._clock()
            snapshot = self._engine.snapshot()
            samples = self._allowance.samples()
            state = (
                taken,
                snapshot.in_flight,
                self._allowance.unwritten,
                snapshot.waiting,
                snapshot.more,
                snapshot.retries,
                snapshot.hedges,
            )
            messages = [self._messages.popleft() for _ in range(len(self._messages))]
            due = state != self._last or now_s - self._reported_at > AT_LEAST_EVERY_S
            if samples or messages or due:
                self._last, self._reported_at = state, now_s
                self._send(Report(*state, samples, messages, snapshot.failure, snapshot.reasons))

    def _send(self, message: FromWorker) -> None:
        try:
            if not self._channel.send(message):
                self._engine.when_writable(self._channel.fileno(), self._flush)
        except OSError:  # The other end is gone.
            self._over.set()
        except Exception:  # On the loop, nobody else sees it.
            self._give_up()
            raise

    def _flush(self) -> bool:
        """Send what had no room; return whether something is left."""
        try:
            return not self._channel.flush()
        except OSError:  # The other end is gone.
            self._over.set()
            return False

    def _in_background(self, function: Callable[[], object], *, name: str) -> None:
        in_background(function, name=name, failed=lambda _error: self._give_up())

    def _give_up(self) -> None:
        """End the worker, so that the run replaces it: something in it has failed."""
        traceback.print_exc()
        shut_down(self._channel)


def _portable(error: Exception) -> Exception:
    """Return an error that survives pickling."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    except Exception:  # noqa: BLE001 - some need other arguments
        return TerminalError(f"{type(error).__name__}: {error}")
    return error
