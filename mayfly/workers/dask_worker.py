"""What runs inside a Dask worker, called by name: a check of what it has, and a worker of a run."""

import asyncio
import os
import pickle
import tempfile
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from multiprocessing import Pipe
from pathlib import Path

from mayfly.inference.engine import Target
from mayfly.models.errors import MayflyError
from mayfly.workers.channel import shut_down
from mayfly.workers.dask_checks import WorkerNeeds, own_connection, problem_with
from mayfly.workers.protocol import Assignment
from mayfly.workers.worker import ShardWorker

SILENCE_S = 5.0
"""A live run sends a message every second; after this long without one, nothing is sent."""

LINGER_S = 0.05
"""Seconds that an exchange waits for something to return."""

REPLY_BYTES = 4 * 2**20
"""Approximate limit of bytes returned per exchange."""

STAY_POLL_S = 1.0


async def problem(needs: WorkerNeeds) -> str:
    """Return why this process cannot work for a run, or "".

    A coroutine, because Dask calls functions in the thread that has the worker's connections.
    """
    return await asyncio.to_thread(problem_with, needs, os.environ)


class WorkerActor:
    """A worker of a run, as a Dask actor: the run sends and fetches messages by `exchange`."""

    def __init__(self) -> None:
        self._near, self._far = Pipe()
        self._folder = _own_folder()
        self._outgoing: deque[bytes] = deque()
        self._changed, self._ended = threading.Condition(), False
        self._thread = threading.Thread(target=self._live, name="mayfly worker", daemon=True)
        self._thread.start()
        # One thread always reads, so that neither end of the pipe waits for the other.
        threading.Thread(target=self._listen, name="from mayfly worker", daemon=True).start()

    @property
    def alive(self) -> bool:
        """Whether it still works for a run."""
        return self._thread.is_alive()

    def exchange(self, packed: bytes) -> bytes | None:
        """Pass messages to the worker and return messages from it; None once it has ended.

        Both are one bytes object with a pickled list of pickled messages: many small objects take
        Dask's serialization 500 times as long.
        """
        with suppress(OSError):
            for frame in pickle.loads(packed):  # noqa: S301 - from our own run
                self._near.send_bytes(frame)
        frames: list[bytes] = []
        size = 0
        with self._changed:
            self._changed.wait_for(lambda: self._outgoing or self._ended, LINGER_S)
            while self._outgoing and size < REPLY_BYTES:
                frames.append(self._outgoing.popleft())
                size += len(frames[-1])
            if self._ended and not frames:
                return None
        return pickle.dumps(frames)

    def end(self) -> None:
        """End at once: the run has released it."""
        shut_down(self._near)

    def _listen(self) -> None:
        with suppress(EOFError, OSError):
            while True:
                frame = self._near.recv_bytes()
                with self._changed:
                    self._outgoing.append(frame)
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _live(self) -> None:
        far = self._far
        # Below Dask's folder for worker data, which it also cleans up after a kill.
        with (
            tempfile.TemporaryDirectory(
                prefix="mayfly-", dir=self._folder, ignore_cleanup_errors=True
            ) as folder,
            far,
            suppress(EOFError, OSError, MayflyError),
        ):
            if not far.poll(SILENCE_S):
                return
            assignment: Assignment = far.recv()
            own = as_own(assignment, Path(folder), os.environ)
            ShardWorker(far, own, silence_s=SILENCE_S).serve()


def stay(actor: str) -> None:
    """Run for as long as an actor works, so that its worker is not taken for idle.

    Dask closes idle workers of an adaptive cluster, and one with nothing but an actor counts as
    idle. A task that has seceded takes no thread of those that others' tasks run in.
    Source: distributed 2026.8, `Scheduler.workers_to_close`.
    """
    from distributed import get_worker, secede  # noqa: PLC0415 - runs in a Dask worker only

    worker = get_worker()
    secede()  # type: ignore[no-untyped-call]
    while isinstance(found := worker.state.actors.get(actor), WorkerActor) and found.alive:
        time.sleep(STAY_POLL_S)


def as_own(assignment: Assignment, folder: Path, env: Mapping[str, str]) -> Assignment:
    """Return an assignment as this process can follow it.

    Args:
        folder: Where blocks of the input may be kept.
        env: Has the key that requests are sent with, unless the run has sent one.

    Raises:
        BadRequest: A variable has a value that it cannot have.
    """
    target, dataset = assignment.target, assignment.dataset
    if not target.headers and (own := own_connection(env)) is not None:
        target = Target(url=target.url, headers=own.headers())
    if dataset is not None:
        dataset = replace(dataset, beside=str(folder))
    return replace(assignment, target=target, dataset=dataset)


def _own_folder() -> str | None:
    from distributed import get_worker  # noqa: PLC0415 - runs in a Dask worker only

    try:
        return str(get_worker().local_directory)
    except ValueError:
        return None
