"""The heartbeat of a run: what tells guardian, sweep and people that it lives and moves.

Two threads, so that a disk that hangs holds up the lease's heartbeat alone: one writes to the
guardian's pipe, the other to the lease. Both are silent once the run's own thread has not been seen
for minutes: a process that lives and does not move ends its endpoint no more than a dead one does.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress

import orjson

from mayfly.endpoints.guardian import BEAT_S, Guardian
from mayfly.models.errors import TerminalError
from mayfly.models.lease import HEARTBEAT_S, Lease
from mayfly.storage.lease_store import LeaseStore

STALL_S = 300.0
"""How long the run's own thread may do one thing. Every wait of a run notes that it goes on, and
every call is bounded by half a minute, so that this is far more than a busy machine takes."""


class Heartbeat:
    """Guardian, lease and heartbeats of one endpoint, as long as it may exist.

    Args:
        arm: Starts a guardian that knows this lease.
        log: Receives a line when a guardian had to be replaced.
        heartbeat_s: How often the lease is renewed, in seconds.
        now, clock: Unix time, and a clock that only goes forward, in seconds.
    """

    def __init__(
        self,
        lease: Lease,
        store: LeaseStore,
        arm: Callable[[bytes], Guardian],
        log: Callable[[str], None],
        *,
        heartbeat_s: float = HEARTBEAT_S,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lease = lease
        self._heartbeat_s = heartbeat_s
        self._unwritten = False
        self._store, self._arm, self._log = store, arm, log
        self._now, self._clock = now, clock
        self._moved_at = clock()
        self._let_go, self._arming = threading.Event(), threading.Lock()
        self._guardian: Guardian | None = None

    def begin(self) -> None:
        """Wake the guardian and begin to beat (TerminalError: no guardian can be had)."""
        self._guardian = self._arm(_line(self.lease))
        for beat, every_s in ((self.beat_guardian, BEAT_S), (self.beat_lease, self._heartbeat_s)):
            threading.Thread(
                target=self._repeat, args=(beat, every_s), name=beat.__name__, daemon=True
            ).start()

    def moved(self) -> None:
        """Note that the run's own thread goes on; called from every wait of it."""
        self._moved_at = self._clock()

    @property
    def stalled(self) -> bool:
        """Whether the run's own thread has not been seen for too long."""
        return self._clock() - self._moved_at > STALL_S

    def update(self, lease: Lease) -> None:
        """Keep what is known now: the guardian first, which needs no disk (TerminalError)."""
        self.moved()
        self.lease = lease
        if self._guardian is not None:
            self._guardian.tell(_line(lease))
        self._store.update(lease)

    def note(self, lease: Lease) -> None:
        """Keep what is known now without waiting for a disk: the guardian knows it at once, and the
        lease's file has it with the next heartbeat."""
        self.moved()
        self.lease, self._unwritten = lease, True
        if self._guardian is not None:
            self._guardian.tell(_line(lease))

    def guard(self) -> None:
        """Replace a guardian that has died."""
        with self._arming:
            if self._guardian is None or self._let_go.is_set() or self._guardian.alive():
                return
            self._log("the guardian has died; waking another")
            self._guardian = self._arm(_line(self.lease))

    def end(self) -> None:
        """Close the lease and let the guardian go: the endpoint has ended as it should."""
        self._let_go.set()
        with self._arming:
            # A guardian that finds no lease afterwards has nothing to do.
            if self._guardian is not None:
                self._guardian.closing()
            self._store.close(self.lease)
            if self._guardian is not None:
                self._guardian.release()

    def beat_guardian(self) -> None:
        """Give one heartbeat to the guardian, and replace one that has died."""
        if self._guardian is not None and not self.stalled:
            self._guardian.beat()
            # A full process table must not end the heartbeat.
            with suppress(TerminalError):
                self.guard()

    def beat_lease(self) -> None:
        """Give one heartbeat to the lease on the disk."""
        if not self.stalled:
            # A full disk must not end the heartbeat.
            with suppress(TerminalError):
                if self._unwritten:
                    self._store.update(self.lease)
                    self._unwritten = False
                self._store.renew(self.lease, self._now())

    def _repeat(self, beat: Callable[[], None], every_s: float) -> None:
        while not self._let_go.wait(every_s):
            beat()


def _line(lease: Lease) -> bytes:
    return orjson.dumps(lease.as_dict())
