"""The heartbeats of a run, which show guardian and sweep that it makes progress.

One thread writes to the guardian's pipe, another to the lease, so that a hanging disk delays only
the second. Both stop once the run's main thread has made no progress for minutes: a stalled process
would not end its endpoint either.
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
"""Seconds without progress after which the run's main thread counts as stalled. Every wait of a run
records progress and every call takes at most half a minute, so a busy machine stays far below."""


class Heartbeat:
    """Guardian, lease and heartbeats of one endpoint, as long as it may exist.

    Args:
        arm: Starts a guardian for a lease record.
        log: Reports that a guardian had to be replaced.
        heartbeat_s: Interval at which the lease is renewed, in seconds.
        now, clock: Unix time and monotonic time, in seconds.
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
        """Start the guardian and the heartbeats (TerminalError: the guardian cannot start)."""
        self._guardian = self._arm(_line(self.lease))
        for beat, every_s in ((self.beat_guardian, BEAT_S), (self.beat_lease, self._heartbeat_s)):
            threading.Thread(
                target=self._repeat, args=(beat, every_s), name=beat.__name__, daemon=True
            ).start()

    def moved(self) -> None:
        """Record progress of the run's main thread; called from every wait."""
        self._moved_at = self._clock()

    @property
    def stalled(self) -> bool:
        """Whether the run's main thread has made no progress for too long."""
        return self._clock() - self._moved_at > STALL_S

    def update(self, lease: Lease) -> None:
        """Send the lease to the guardian, then write it to the disk (TerminalError)."""
        self.moved()
        self.lease = lease
        if self._guardian is not None:
            self._guardian.send_lease(_line(lease))
        self._store.update(lease)

    def note(self, lease: Lease) -> None:
        """Send the lease to the guardian; the next heartbeat writes it to the disk.

        It never waits for a disk.
        """
        self.moved()
        self.lease, self._unwritten = lease, True
        if self._guardian is not None:
            self._guardian.send_lease(_line(lease))

    def guard(self) -> None:
        """Replace a guardian that has died."""
        with self._arming:
            if self._guardian is None or self._let_go.is_set() or self._guardian.alive():
                return
            self._log("the guardian has died; starting another")
            self._guardian = self._arm(_line(self.lease))

    def end(self) -> None:
        """Close the lease and release the guardian: the endpoint has ended."""
        self._let_go.set()
        with self._arming:
            # Announce it first, so that a guardian that finds no lease does nothing.
            if self._guardian is not None:
                self._guardian.closing()
            self._store.close(self.lease)
            if self._guardian is not None:
                self._guardian.release()

    def beat_guardian(self) -> None:
        """Send one heartbeat to the guardian; replace a guardian that has died."""
        if self._guardian is not None and not self.stalled:
            self._guardian.beat()
            # A full process table must not end the heartbeats.
            with suppress(TerminalError):
                self.guard()

    def beat_lease(self) -> None:
        """Renew the lease on the disk."""
        if not self.stalled:
            # A full disk must not end the heartbeats.
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
