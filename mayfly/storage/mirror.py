"""Mirror a work folder to its object store during a run, in background threads.

The run never waits for the store before its endpoint is stopped: a finished shard only wakes the
uploads. When the run ends, it waits for the remaining uploads for a limited time.
"""

import hashlib
import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from mayfly.storage.object_store import ObjectStore, StoreError, Version
from mayfly.storage.store_lock import RENEW_S, LockLost, StoreLock
from mayfly.storage.work_folder import (
    JOURNALS,
    LEASE,
    MANIFEST,
    WorkFolder,
    each_small,
    mark_of,
)

POLL_EVERY_S = 1.0
SETTLE_S = 2.0
"""Shards that finish within this time share one upload of the manifest."""

FIRST_RENEWAL_S = 5.0
MAX_PAUSE_S = 60.0
CLOSE_S = 900.0
"""Total time limit for the uploads after a run has ended."""

IDLE_S = 100.0
"""Time limit without a finished object: more than a request with its retries takes."""

INTERRUPTED_S = 30.0
"""Total time limit after an interruption, when the user waits for the end."""


class Mirror:
    """Uploads finished files of a run, and renews its lock at the store.

    Attributes:
        lost: Why the output no longer belongs to this run; None while it does.
    """

    def __init__(
        self,
        store: ObjectStore,
        work: WorkFolder,
        lock: StoreLock,
        manifest: Version | None,
        *,
        log: Callable[[str], object],
        renew_s: float = RENEW_S,
        interrupted_s: float = INTERRUPTED_S,
    ) -> None:
        self._store, self._work, self._lock = store, work, lock
        self._manifest = manifest
        self._log, self._renew_s, self._interrupted_s = log, renew_s, interrupted_s
        self.lost: str | None = None
        self._wake, self._closing, self._closed = (threading.Event() for _ in range(3))
        self._problem: str | None = None
        self._moved_at = time.monotonic()
        self._threads = [
            threading.Thread(target=work_of, name=name, daemon=True)
            for name, work_of in (("lock renewal", self._renew), ("uploads", self._upload))
        ]

    def start(self) -> None:
        """Start the renewals and uploads."""
        self._wake.set()
        for thread in self._threads:
            thread.start()

    def changed(self) -> None:
        """Wake the uploads after a change; returns at once."""
        self._wake.set()

    def close(self, *, interrupted: bool = False) -> str | None:
        """Upload what is left and let the output go; return what could not be done, if anything.

        Args:
            interrupted: Whether the run was interrupted, so that the user waits for the end.
        """
        total_s = self._interrupted_s if interrupted else CLOSE_S
        begun = self._moved_at = time.monotonic()
        self._closing.set()
        self._wake.set()
        while not self._closed.wait(0.1):
            now = time.monotonic()
            if now - begun > total_s or now - self._moved_at > min(IDLE_S, total_s):
                return self._problem or f"the store did not take it within {now - begun:.0f} s"
        return self.lost or self._problem

    def _renew(self) -> None:
        # The first renewal is early, because it publishes the run's live numbers.
        pause_s = min(FIRST_RENEWAL_S, self._renew_s)
        while not self._closing.wait(pause_s):
            pause_s = self._renew_s
            try:
                self._lock.renew(self._heartbeat())
            except LockLost as error:
                self.lost = str(error)
                return
            except StoreError as error:
                self._note(error)

    def _heartbeat(self) -> dict[str, Any] | None:
        try:
            heartbeat = json.loads(self._work.paths.heartbeat.read_bytes())
        except (OSError, ValueError):
            return None
        return heartbeat if isinstance(heartbeat, dict) else None

    def _upload(self) -> None:
        pause_s = 0.0
        try:
            while not self._closing.is_set() and self.lost is None:
                if not self._wake.wait(POLL_EVERY_S) and not self._lease_changed():
                    continue
                self._closing.wait(max(SETTLE_S, pause_s))
                if self._closing.is_set():
                    break
                self._wake.clear()
                try:
                    self._push()
                    pause_s = 0.0
                except OSError as error:
                    self._note(error)
                    self._wake.set()
                    pause_s = min(MAX_PAUSE_S, 2 * pause_s or SETTLE_S)
            self._threads[0].join()
            self._finish()
        except LockLost as error:
            self.lost = str(error)
        except Exception as error:  # noqa: BLE001 - reported by `close`
            self._problem = f"{type(error).__name__}: {error}"
        finally:
            self._closed.set()

    def _finish(self) -> None:
        if self.lost is not None:
            return
        try:
            self._push()
            self._push_journals()
            self._lock.release()
            self._problem = None
        except OSError as error:
            self._note(error)
        except LockLost as error:
            self.lost = str(error)

    def _lease_changed(self) -> bool:
        path = self._work.path(LEASE)
        return self._work.is_changed(LEASE) or (self._work.knows(LEASE) and not path.exists())

    def _push(self) -> None:
        """Upload what the store does not have: parts before the manifest that speaks of them."""
        paths, work = self._work.paths, self._work
        try:
            manifest = paths.manifest.read_bytes()
        except FileNotFoundError:
            manifest = b""
        names = [path.name for path in sorted(paths.folder.glob("part-*.parquet"))]
        for name in [*names, *each_small(paths)]:
            if work.is_changed(name):
                self._put(name)
        for name in [LEASE]:
            if work.knows(name) and not work.path(name).exists():
                self._store.remove(name)
                work.forget(name)
        if manifest and work.is_changed(MANIFEST):
            self._put_manifest(manifest)
        work.save()
        self._problem = None

    def _put(self, name: str) -> None:
        path = self._work.path(name)
        # Taken before the upload: a file that is replaced meanwhile counts as changed.
        mark = mark_of(path)
        with suppress(FileNotFoundError):
            self._work.note(name, self._store.write(name, path), mark)
        self._moved_at = time.monotonic()

    def _put_manifest(self, data: bytes) -> None:
        if self._manifest is None:
            version = self._store.create(MANIFEST, data)
        else:
            version = self._store.replace(MANIFEST, data, self._manifest)
        if version is None:
            self.lost = f"output {self._store.uri} was changed by another run"
            raise LockLost(self.lost)
        self._manifest = version
        self._work.note(MANIFEST, version, _digest(data))
        self._moved_at = time.monotonic()

    def _push_journals(self) -> None:
        """Keep at the store what a run that ended in order has been answered in no part yet."""
        paths, work = self._work.paths, self._work
        names = [f"{JOURNALS}{path.name}" for path in sorted(paths.journals.glob("*.jsonl"))]
        for name in names:
            if work.is_changed(name):
                self._put(name)
        for name in work.known(JOURNALS):
            if name not in names:
                self._store.remove(name)
                work.forget(name)
        work.save()

    def _note(self, error: OSError) -> None:
        reason = str(error.strerror or error)
        if self._problem is None:
            self._log(
                f"{self._store.uri} cannot be written ({reason}); the run continues, and keeps "
                f"finished files in {self._work.paths.folder} until it can be written"
            )
        self._problem = reason


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
