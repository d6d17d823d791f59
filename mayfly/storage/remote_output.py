"""An output on an object store: refresh its work folder, and claim it for a run."""

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import orjson

from mayfly.models.errors import BadRequest, TerminalError
from mayfly.storage.atomic import make_folder
from mayfly.storage.mirror import Mirror
from mayfly.storage.object_store import Listing, ObjectStore, StoreError, Version, open_store
from mayfly.storage.output_location import paths_of
from mayfly.storage.run_paths import KEPT, RunPaths
from mayfly.storage.store_lock import CLOCK, LOCK, StoreLock, heartbeat_of, read_holder
from mayfly.storage.uri_credentials import ENVIRON
from mayfly.storage.work_folder import JOURNALS, LEASE, MANIFEST, WorkFolder

_NOT_FOREIGN = (LOCK, CLOCK, LEASE)
"""Objects of a run that was killed before its first manifest."""


def refresh(output: str, environ: Mapping[str, str] = ENVIRON) -> tuple[RunPaths, Listing]:
    """Update the work folder from the store, unless a run of this machine is using it.

    Nothing is written to the store; without a run there, nothing is written here either.

    Raises:
        BadRequest: The store cannot be reached, or the folder there holds other objects.
    """
    paths, store = paths_of(output, environ), open_store(output, environ)
    try:
        listed = store.list()
        if foreign := _foreign(listed):
            raise BadRequest(
                f"output {output} holds {foreign} and is not an earlier run; "
                "give a new or empty folder"
            )
        if MANIFEST not in listed and not paths.kept.is_dir():
            return paths, listed
        with _unless_in_use(paths) as free:
            if free:
                work = WorkFolder(paths, output)
                if MANIFEST in listed:
                    work.pull(store, listed)
                elif work.knows(MANIFEST):
                    work.set_aside()
    except StoreError as error:
        raise BadRequest(f"output {output} cannot be read: {error}") from error
    return paths, listed


def refresh_all(output: str, environ: Mapping[str, str] = ENVIRON) -> RunPaths:
    """Refresh the work folder, and download parts and journals that this machine does not have.

    Raises:
        BadRequest: As `refresh`.
        TerminalError: A part cannot be downloaded.
    """
    paths, listed = refresh(output, environ)
    store = open_store(output, environ)
    if MANIFEST not in listed:
        return paths
    try:
        with _unless_in_use(paths) as free:
            if free:
                work = WorkFolder(paths, output)
                work.pull_parts(store, listed)
                work.pull_journals(store, listed)
    except OSError as error:
        raise TerminalError(f"output {output} cannot be read: {error.strerror}") from error
    return paths


def refresh_status(output: str, environ: Mapping[str, str] = ENVIRON) -> RunPaths:
    """Refresh the work folder, and write the live numbers of a run on another machine into it.

    Raises:
        BadRequest: As `refresh`.
    """
    paths, listed = refresh(output, environ)
    if MANIFEST not in listed:
        return paths
    with _unless_in_use(paths) as free:
        if free:
            store = open_store(output, environ)
            try:
                WorkFolder(paths, output).pull_journals(store, listed)
                heartbeat = None
                if LOCK in listed:
                    # By this machine's clock: a reader may lack permission to write.
                    silent = datetime.now(UTC) - listed[LOCK].modified
                    heartbeat = heartbeat_of(read_holder(store), silent.total_seconds())
            except StoreError as error:
                raise BadRequest(f"output {output} cannot be read: {error}") from error
            if heartbeat is None:
                paths.heartbeat.unlink(missing_ok=True)
            else:
                paths.heartbeat.write_bytes(orjson.dumps(heartbeat))
    return paths


def claim(output: str, paths: RunPaths, *, now: float, log: Callable[[str], object]) -> "Claim":
    """Claim an output for a run; this process must hold the lock of the work folder.

    Creating the lock is the first write, which proves that writes are allowed.

    Raises:
        BadRequest: Another run uses it, or the store rejects the write; nothing was created.
        TerminalError: The existing files cannot be downloaded.
    """
    store, work = open_store(output), WorkFolder(paths, output)
    try:
        work.save()
        lock, earlier = StoreLock.acquire(store, work=work.id, now=now)
    except StoreError as error:
        raise BadRequest(
            f"output {output} cannot be written: {error}; correct it, or give another --output"
        ) from error
    try:
        listed = store.list()
        version: Version | None = None
        if MANIFEST in listed:
            work.pull(store, listed)
            found = store.read(MANIFEST)
            version = None if found is None else found[1].version
            work.pull_unrecorded_parts(store, listed)
            work.pull_journals(store, listed)
    except BaseException as error:
        with suppress(StoreError):
            lock.release()
        if isinstance(error, OSError):
            raise TerminalError(f"output {output} cannot be read: {error.strerror}") from error
        raise
    mirror = Mirror(store, work, lock, version, log=log)
    return Claim(mirror, lock, store, earlier=earlier, work=work, output=output)


class Claim:
    """An output on an object store that this process has locked.

    Attributes:
        mirror: Uploads finished files.
    """

    def __init__(
        self,
        mirror: Mirror,
        lock: StoreLock,
        store: ObjectStore,
        *,
        earlier: Mapping[str, Any],
        work: WorkFolder,
        output: str,
    ) -> None:
        self.mirror = mirror
        self._lock, self._store = lock, store
        self._earlier, self._work, self._output = earlier, work, output

    def fetch_parts(self, indices: Iterable[int]) -> None:
        """Download the parts of some shards that are at the store only.

        Raises:
            TerminalError: That cannot be done.
        """
        try:
            self._work.pull_these_parts(self._store, indices)
        except OSError as error:
            raise TerminalError(
                f"output {self._output} cannot be read: {error.strerror}"
            ) from error

    def rows_lost(self, here: int) -> int:
        """Return how many rows a run that died on another machine had answered, but are not here.

        Args:
            here: Rows in parts and journals.
        """
        heartbeat = self._earlier.get("heartbeat")
        if not isinstance(heartbeat, dict) or self._earlier.get("work") == self._work.id:
            return 0
        return max(0, int(heartbeat.get("rows", {}).get("done", 0)) - here)

    @property
    def died_on(self) -> str:
        """The previous owner of the output, which died."""
        return f"process {self._earlier.get('pid')} on {self._earlier.get('host')}"

    def check(self) -> None:
        """Raise TerminalError if another run has taken over the output."""
        if self.mirror.lost is not None:
            raise TerminalError(self.mirror.lost)

    def give_up(self) -> None:
        """Release the output before anything was started."""
        with suppress(StoreError):
            self._lock.release()

    def close(self, *, interrupted: bool) -> str | None:
        """Upload the rest and release the output; return the problem in one line, or None."""
        problem = self.mirror.close(interrupted=interrupted)
        if problem is None:
            return None
        return (
            f"output {self._output} is incomplete ({problem}); everything is kept in "
            f"{self._work.paths.folder}: run the same command again on this machine to upload it"
        )


def _foreign(listed: Listing) -> str | None:
    """Return the name of an object that is not from a run, if there is no manifest."""
    if MANIFEST in listed:
        return None
    for name in sorted(listed):
        if name not in _NOT_FOREIGN and not name.startswith(JOURNALS):
            return name if name.startswith(KEPT) else name.partition("/")[0]
    return None


@contextmanager
def _unless_in_use(paths: RunPaths) -> Iterator[bool]:
    """Hold the work folder's lock for the block; yield whether that was possible."""
    make_folder(paths.kept)
    lock = os.open(paths.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(lock)
