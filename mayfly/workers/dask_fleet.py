"""Workers in a Dask cluster, with local processes as the fallback."""

import pickle
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from queue import Empty, SimpleQueue

from mayfly.inference.engine import Target
from mayfly.models.errors import MayflyError
from mayfly.workers.background import in_background
from mayfly.workers.carrier import Absent, Carrier, Fail, Fleet, Join
from mayfly.workers.channel import shut_down
from mayfly.workers.dask_cluster import DaskCluster, StartedActor
from mayfly.workers.dask_demand import Demand
from mayfly.workers.dask_worker import SILENCE_S
from mayfly.workers.process import MOST_WORKERS
from mayfly.workers.protocol import Assignment

POLL_EVERY_S = 1.0
"""Interval at which the cluster is polled for new workers."""

ASK_FOR_S = 60.0
"""Seconds for which more workers are requested from an adaptive cluster; it keeps those in use."""

ALONE_S = 30.0
"""Seconds without a usable worker after which the run continues with local processes."""

MOST_LOSSES = 3
"""A worker that was lost this often is not used again."""

ANSWER_S = 0.005
"""Seconds to wait for the run's reply to what a worker has just sent."""

SEND_BYTES = 8 * 2**20
"""Approximate limit of bytes sent to a worker per exchange."""

END_S = 2.0
"""Time limit for the end of a released worker."""


class DaskWorker:
    """A worker in a Dask actor; threads carry its messages."""

    hang_s = 2 * SILENCE_S
    # It stops by itself after this silence; a paused process can do so only when it continues.
    outlives_s = SILENCE_S + 1.0
    outlives_hang_s = 30.0

    def __init__(self, cluster: DaskCluster, address: str, started: StartedActor) -> None:
        self.name = f"Dask worker {address}"
        self.address = address
        self._cluster, self._actor, self._staying = cluster, started.actor, started.staying
        near, far = socket.socketpair()
        self.connection, self._far = Connection(near.detach()), Connection(far.detach())
        self._reason = "lost"
        self._outgoing: SimpleQueue[bytes | None] = SimpleQueue()
        # One thread always reads, so that neither end of the socket waits for the other.
        self._listener = threading.Thread(target=self._listen, name=f"for {address}", daemon=True)
        self._listener.start()
        self._thread = in_background(self._carry, name=f"to {address}", failed=self._failed)

    def brief(self, assignment: Assignment) -> Assignment:
        """Return the assignment without what must not be sent, or cannot be read there."""
        target = Target(url=assignment.target.url, headers=self._cluster.headers_for(self.address))
        dataset = assignment.dataset if self._cluster.workers_read else None
        return replace(assignment, target=target, dataset=dataset)

    def end(self, *, hung: bool = False) -> str:
        """Close the connection, which ends it; return how it ended, for messages."""
        self.connection.close()
        if not hung:
            self._thread.join(END_S)
        return self._reason

    def _listen(self) -> None:
        try:
            with suppress(EOFError, OSError):
                while True:
                    self._outgoing.put(self._far.recv_bytes())
        finally:
            self._outgoing.put(None)

    def _failed(self, error: MayflyError) -> None:
        self._reason = f"lost: {error}"

    def _carry(self) -> None:
        try:
            self._exchange()
        finally:
            with suppress(Exception):
                self._staying.release()
            # The pool notices the loss by it.
            shut_down(self._far)
            self._listener.join()
            self._far.close()

    def _exchange(self) -> None:
        with suppress(OSError):
            busy = False
            while True:
                frames, ended = self._take(ANSWER_S if busy else 0.0)
                try:
                    reply = self._actor.exchange(pickle.dumps(frames)).result()
                    if ended:
                        self._actor.end().result(timeout=END_S)
                except Exception as error:  # noqa: BLE001 - Dask raises many kinds of errors
                    self._reason = f"lost: {' '.join(str(error).split())}"
                    break
                if reply is None:
                    self._reason = "lost: it was paused or unreachable for too long"
                if reply is None or ended:
                    break
                answers = pickle.loads(reply)  # noqa: S301 - from our own worker
                for frame in answers:
                    self._far.send_bytes(frame)
                busy = bool(answers)

    def _take(self, timeout_s: float) -> tuple[list[bytes], bool]:
        """Return the messages to carry, and whether they are the last ones."""
        frames: list[bytes] = []
        size = 0
        with suppress(Empty):
            while size < SEND_BYTES:
                # Wait for the first message only.
                outgoing = self._outgoing
                frame = outgoing.get_nowait() if frames else outgoing.get(timeout=timeout_s)
                if frame is None:
                    return frames, True
                frames.append(frame)
                size += len(frame)
        return frames, False


class DaskFleet:
    """Starts one worker on each Dask worker, including those that join later.

    If the cluster has none left, the run continues with local processes, because the endpoint
    bills.

    Args:
        local: What takes over.
        shards: Number of shards, which limits the number of useful workers.
        alone_s: How long the cluster may be without a worker before that, in seconds.
    """

    def __init__(
        self,
        cluster: DaskCluster,
        local: Fleet,
        *,
        shards: int,
        log: Callable[[str], object] = lambda _message: None,
        clock: Callable[[], float] = time.monotonic,
        alone_s: float = ALONE_S,
    ) -> None:
        self._cluster, self._local, self._log, self._clock = cluster, local, log, clock
        self._most, self._alone_s = max(1, shards), alone_s
        self._first = cluster.addresses()[: self._most]
        self.size = max(1, len(self._first))
        self._changing = threading.Lock()
        self._used: set[str] = set()
        self._losses: Counter[str] = Counter()
        self._over = threading.Event()
        self._is_local = self._waits = False
        self._began = self._alone_since = clock()

    def open(self, join: Join, fail: Fail, absent: Absent) -> int:
        """Start a worker on each Dask worker, and monitor the cluster."""
        self._join, self._fail, self._absent = join, fail, absent
        self._used.update(self._first)
        for address in self._first:
            self._begin(address, absent)
        in_background(
            self._watch,
            name="watching the cluster",
            failed=lambda error: self._continue_locally(f"is no longer watched ({error})"),
        )
        return len(self._first)

    def lost(self, carrier: Carrier, reason: str, *, ready: bool) -> int:
        """Record a loss; a replacement starts when the cluster has a free worker."""
        if not isinstance(carrier, DaskWorker):
            return self._local.lost(carrier, reason, ready=ready)
        self._count_loss(carrier.address)
        return 0

    def close(self) -> None:
        """Start no more workers."""
        self._over.set()
        self._local.close()

    def _count_loss(self, address: str, losses: int = 1) -> None:
        with self._changing:
            self._losses[address] += losses
            self._used.discard(address)
            self._alone_since = self._clock()

    def _watch(self) -> None:
        with self._cluster.demand() as demand:
            while not self._over.is_set():
                if self._cluster.lost:
                    self._continue_locally("is unreachable")
                    return
                for address in self._cluster.addresses():
                    with self._changing:
                        free = (
                            address not in self._used
                            and self._losses[address] < MOST_LOSSES
                            and len(self._used) < self._most
                        )
                        if free:
                            self._used.add(address)
                    if free:
                        self._begin(address)
                self._ask_or_wait(demand)
                self._over.wait(POLL_EVERY_S)

    def _ask_or_wait(self, demand: Demand) -> None:
        with self._changing:
            used, now_s = len(self._used), self._clock()
        most = min(self._most, MOST_WORKERS)
        early = now_s - self._began < ASK_FOR_S
        demand.ask_for(most if used == 0 or (used < most and early) else 0)
        if used or self._is_local:
            self._waits = False
            return
        alone_s = now_s - self._alone_since
        if alone_s > self._alone_s:
            self._continue_locally(f"has had no worker for {self._alone_s:.0f} s")
        elif not self._waits:
            self._waits = True
            self._log(
                f"the Dask cluster at {self._cluster.address} has no workers; waiting "
                f"{self._alone_s - alone_s:.0f} s for one"
            )

    def _begin(self, address: str, absent: Absent = lambda: None) -> None:
        in_background(
            partial(self._start, address, absent), name=f"start on {address}", failed=self._fail
        )

    def _start(self, address: str, absent: Absent) -> None:
        """Start a worker; on a paused Dask worker this takes until it continues."""
        try:
            if not self._cluster.fits(address):
                self._count_loss(address, MOST_LOSSES)
                absent()
                return
            carrier = DaskWorker(self._cluster, address, self._cluster.start(address))
        except Exception:  # noqa: BLE001 - Dask raises many kinds of errors
            self._count_loss(address)
            absent()
            return
        if not self._join(carrier):
            carrier.end()

    def _continue_locally(self, why: str) -> None:
        if self._over.is_set() or self._is_local:
            return
        self._is_local = True
        self._log(
            f"the Dask cluster at {self._cluster.address} {why}; "
            "the run continues with processes of this machine"
        )
        self._local.open(self._join, self._fail, self._absent)
