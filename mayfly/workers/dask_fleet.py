"""Workers in a Dask cluster, and processes of this machine once there are none."""

import pickle
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from typing import Any

from mayfly.workers.carrier import Carrier, Fail, Fleet, Join
from mayfly.workers.dask_cluster import DaskCluster
from mayfly.workers.dask_worker import SILENCE_S, without_key
from mayfly.workers.protocol import Assignment

POLL_EVERY_S = 1.0
"""How often the cluster is asked for workers that have joined."""

ALONE_S = 30.0
"""How long a cluster may be without a worker of ours before the run goes on by itself."""

MOST_LOSSES = 3
"""A worker that was lost so often is not used again."""

ANSWER_S = 0.005
"""How long the run may take to say something to what a worker has just sent."""

SEND_BYTES = 8 * 2**20
"""An exchange takes no more than about so much to a worker."""


class DaskWorker:
    """A worker that is an actor of a Dask cluster: a thread carries its messages."""

    hang_s = 2 * SILENCE_S
    # It falls silent by itself; one that is paused can do so only when it goes on.
    outlives_s = SILENCE_S + 1.0
    outlives_hang_s = 30.0

    def __init__(self, cluster: DaskCluster, address: str, actor: Any) -> None:
        self.name = f"Dask worker {address}"
        self.address = address
        self._cluster, self._actor = cluster, actor
        near, far = socket.socketpair()
        self.connection, self._far = Connection(near.detach()), Connection(far.detach())
        self._reason = "lost"
        self._thread = threading.Thread(target=self._carry, name=f"to {address}", daemon=True)
        self._thread.start()

    def brief(self, assignment: Assignment) -> Assignment:
        """Return the assignment without what may not be sent, or cannot be read there."""
        if not self._cluster.private:
            assignment = without_key(assignment)
        return assignment if self._cluster.workers_read else replace(assignment, dataset=None)

    def end(self, *, hung: bool = False) -> str:
        """Let go of it: it ends when its messages do; return what became of it, in words."""
        del hung
        self.connection.close()
        return self._reason

    def _carry(self) -> None:
        far = self._far
        with far, suppress(EOFError, OSError):
            busy = False
            while True:
                frames: list[bytes] = []
                size = 0
                wait([far], ANSWER_S if busy else 0)
                while size < SEND_BYTES and far.poll():
                    frames.append(far.recv_bytes())
                    size += len(frames[-1])
                try:
                    reply = self._actor.exchange(pickle.dumps(frames)).result()
                except Exception as error:  # noqa: BLE001 - Dask has many ways to say so
                    self._reason = f"lost: {' '.join(str(error).split())}"
                    return
                if reply is None:
                    self._reason = "lost: it was paused, or out of reach, for too long"
                    return
                answers = pickle.loads(reply)  # noqa: S301 - from our own worker
                for frame in answers:
                    far.send_bytes(frame)
                busy = bool(answers)


class DaskFleet:
    """The workers of a cluster, one of ours on each; those that join later too.

    Where the cluster has none left, the run goes on in processes of its own: the endpoint bills.

    Args:
        local: What takes over.
        shards: No more workers than so many are of use at first.
    """

    def __init__(
        self,
        cluster: DaskCluster,
        local: Fleet,
        *,
        shards: int,
        log: Callable[[str], object] = lambda _message: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster, self._local, self._log, self._clock = cluster, local, log, clock
        self.size = max(1, min(shards, len(cluster.addresses())))
        self._changing = threading.Lock()
        self._used: set[str] = set()
        self._losses: Counter[str] = Counter()
        self._over = threading.Event()
        self._is_local = False
        self._alone_since = clock()

    def open(self, join: Join, fail: Fail) -> int:
        """Start one worker on each of the cluster's, and watch it from then on."""
        self._join, self._fail = join, fail
        threading.Thread(target=self._watch, name="watch cluster", daemon=True).start()
        return 0

    def lost(self, carrier: Carrier, reason: str, *, ready: bool) -> int:
        """Take note of a loss; another comes when the cluster has one."""
        if self._is_local and not isinstance(carrier, DaskWorker):
            return self._local.lost(carrier, reason, ready=ready)
        if isinstance(carrier, DaskWorker):
            with self._changing:
                self._losses[carrier.address] += 1
                self._used.discard(carrier.address)
                self._alone_since = self._clock()
        return 0

    def close(self) -> None:
        """Start no more workers."""
        self._over.set()
        self._local.close()

    def _watch(self) -> None:
        while not self._over.is_set():
            if self._cluster.lost:
                self._go_on_locally("is gone")
                return
            for address in self._cluster.addresses():
                with self._changing:
                    free = address not in self._used and self._losses[address] < MOST_LOSSES
                    if free:
                        self._used.add(address)
                if free:
                    threading.Thread(
                        target=self._start, args=(address,), name=f"start {address}", daemon=True
                    ).start()
            with self._changing:
                alone = not self._used and self._clock() - self._alone_since > ALONE_S
            if alone:
                self._go_on_locally(f"has had no worker for {ALONE_S:.0f} s")
                return
            self._over.wait(POLL_EVERY_S)

    def _start(self, address: str) -> None:
        """Start a worker of ours; one that is paused takes until it goes on."""
        try:
            if not self._cluster.fits(address):
                return
            actor = self._cluster.start(address)
        except Exception:  # noqa: BLE001 - Dask has many ways to say so
            with self._changing:
                self._losses[address] += 1
                self._used.discard(address)
            return
        carrier = DaskWorker(self._cluster, address, actor)
        if not self._join(carrier):
            carrier.end()

    def _go_on_locally(self, why: str) -> None:
        if self._over.is_set():
            return
        self._is_local = True
        self._log(
            f"the Dask cluster at {self._cluster.address} {why}; "
            "the run goes on in processes of this machine"
        )
        self._local.open(self._join, self._fail)
