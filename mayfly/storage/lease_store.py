"""Leases on disk: one file per endpoint that may exist, written before it is created.

The store is in the user's home, so that a sweep finds the leases of runs with a deleted folder; a
copy is in the run's folder. The heartbeat is the file's modification time, because updating it
works on a full disk, which must not make a live run appear dead.
"""

import errno
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote

import orjson

from mayfly.models.errors import BadRequest, TerminalError
from mayfly.models.lease import Lease
from mayfly.storage.atomic import make_folder, sync_folder, temporary_beside, write_atomically
from mayfly.storage.bounded_work import BoundedWork
from mayfly.storage.run_paths import RunPaths

COPY_S = 10.0
"""Time limit for the copy in the run's folder: a disk that hangs must delay neither a heartbeat nor
a teardown."""

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def state_home(environ: Mapping[str, str]) -> Path:
    """Return the folder for state beyond a run: `MAYFLY_HOME`, else the XDG state folder."""
    if home := environ.get("MAYFLY_HOME"):
        return Path(home).expanduser()
    if state := environ.get("XDG_STATE_HOME"):
        return Path(state) / "mayfly"
    return Path("~/.local/state/mayfly").expanduser()


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedLease:
    """A lease file that cannot be read; its endpoint may still be billed.

    Attributes:
        name: The endpoint's name, from the name of the file.
        reason: Why it cannot be read, in one line.
        heartbeat_at: Modification time of the file (Unix time), which a live owner updates.
    """

    name: str
    path: Path
    reason: str
    heartbeat_at: float = 0.0

    def __str__(self) -> str:
        return (
            f"lease {self.path} cannot be read: {self.reason}; "
            f"if endpoint {self.name} still exists, delete it; then remove the file"
        )


class Leases(NamedTuple):
    """All lease files: those that can be read and those that cannot."""

    open: tuple[Lease, ...]
    damaged: tuple[DamagedLease, ...]


class LeaseStore:
    """The leases of one user on one machine, in `<home>/leases/<name>.json`."""

    def __init__(self, home: Path, *, copy_s: float = COPY_S) -> None:
        self.folder = home / "leases"
        self._changing = threading.Lock()
        # A late heartbeat must not restore a closed lease.
        self._closed: set[str] = set()
        self._copies = BoundedWork(copy_s)

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "LeaseStore":
        """Return the leases of the user, by the environment."""
        return cls(state_home(environ))

    def path(self, name: str) -> Path:
        """Return the path of a lease; any name is escaped to a plain file name."""
        return self.folder / f"{quote(name, safe='')}.json"

    def check_writable(self) -> None:
        """Raise if no lease can be written.

        Raises:
            BadRequest: The folder cannot be written; the message says what to set.
        """
        probe = temporary_beside(self.path("check"))
        try:
            make_folder(self.folder, mode=0o700)
            probe.touch(mode=0o600)
            probe.unlink()
        except OSError as error:
            raise BadRequest(
                f"{self.folder} cannot be written: {error.strerror}; it holds the leases of "
                "endpoints, so set MAYFLY_HOME to a folder that can be written"
            ) from error

    def open(self, lease: Lease) -> None:
        """Write a lease; on return it survives a power failure.

        Raises:
            TerminalError: It could not be written, or another owner has a lease of this name; the
                endpoint must not be created.
        """
        earlier = self._read(self.path(lease.name))
        if isinstance(earlier, DamagedLease):
            raise TerminalError(str(earlier))
        if earlier is not None and earlier.owner != lease.owner:
            owner = earlier.owner
            raise TerminalError(
                f"lease {self.path(lease.name)} is held by process {owner.pid} on {owner.host}; "
                "let that run end, or run mayfly sweep"
            )
        self._closed.discard(lease.name)
        try:
            make_folder(self.folder, mode=0o700)
            file, *duplicates = self._files(lease)
            _write(file, lease, lease.heartbeat_at)
            for path in duplicates:
                self._copies.do(partial(_write_new, path, lease))
        except OSError as error:
            with suppress(TerminalError):
                self.close(lease)
            where = error.filename or self.path(lease.name)
            raise TerminalError(
                f"lease {where} cannot be written: {error.strerror or error}; "
                "free space there or set MAYFLY_HOME to another folder; nothing was created"
            ) from error

    def renew(self, lease: Lease, now: float) -> Lease:
        """Record a heartbeat; return the renewed lease.

        A lease that was removed by another process is written again, because its endpoint may
        exist; one that this store has closed is not.

        Raises:
            TerminalError: The lease can be neither renewed nor written.
        """
        renewed = lease.renewed(now)
        with self._changing:
            if lease.name in self._closed:
                return renewed
            file, *duplicates = self._files(lease)
            try:
                _beat(file, now)
                for path in duplicates:
                    self._copies.do(partial(_beat, path, now))
            except TimeoutError:
                return renewed
            except OSError:
                self._update(renewed)
        return renewed

    def update(self, lease: Lease) -> None:
        """Update a lease, such as its ids or its owner; survives a power failure.

        On a full disk the old content is overwritten in place. A heartbeat never decreases. The
        copy is updated if possible: the run's folder may have been deleted.

        Raises:
            TerminalError: It could not be written.
        """
        with self._changing:
            self._update(lease)

    def _update(self, lease: Lease) -> None:
        file, *duplicates = self._files(lease)
        try:
            make_folder(self.folder, mode=0o700)
            _replace(file, lease)
        except OSError as error:
            raise TerminalError(
                f"lease {file} cannot be written: {error.strerror}; "
                f"endpoint {lease.name} may exist, so free some disk space and run mayfly sweep"
            ) from error
        for path in duplicates:
            with suppress(OSError):
                self._copies.do(partial(_replace, path, lease))

    def close(self, lease: Lease) -> None:
        """Remove a lease, because its endpoint does not exist; may be called repeatedly.

        The copy is removed first: a sweep checks the endpoint until the store's file is removed.

        Raises:
            TerminalError: The store's own file could not be removed.
        """
        file, *duplicates = self._files(lease)
        with self._changing:
            self._closed.add(lease.name)
            for path in duplicates:
                # The run's folder may have been deleted, or its disk may hang.
                with suppress(OSError):
                    self._copies.do(partial(self._remove_copy, path, lease.name))
            try:
                _remove(file)
            except OSError as error:
                raise TerminalError(
                    f"lease {file} cannot be removed: {error.strerror}; "
                    f"endpoint {lease.name} has ended, so remove the file"
                ) from error

    def list(self) -> Leases:
        """Return all leases; files that cannot be read are reported, not skipped.

        Raises:
            TerminalError: The folder itself cannot be read.
        """
        try:
            paths = sorted(self.folder.iterdir())
        except FileNotFoundError:
            paths = []
        except OSError as error:
            raise TerminalError(
                f"leases in {self.folder} cannot be listed: {error.strerror}; "
                "fix that or set MAYFLY_HOME"
            ) from error
        found = [self._read(path) for path in paths if path.suffix == ".json"]
        return Leases(
            tuple(item for item in found if isinstance(item, Lease)),
            tuple(item for item in found if isinstance(item, DamagedLease)),
        )

    def find(self, name: str) -> Lease | DamagedLease | None:
        """Return the lease of an endpoint, or None."""
        return self._read(self.path(name))

    def _remove_copy(self, path: Path, name: str) -> None:
        copy = self._read(path)
        if not isinstance(copy, Lease) or copy.name == name:
            _remove(path)

    def heartbeat(self, name: str) -> float | None:
        """Return the last heartbeat of a lease's owner (Unix time), or None."""
        found = self.find(name)
        return None if found is None else found.heartbeat_at

    def of_output(self, output: str) -> tuple[Lease, ...]:
        """Return the open leases of a run's folder, including the copy in the folder itself if the
        store's lease was lost or damaged.

        Raises:
            TerminalError: The store's folder cannot be read.
        """
        found = {lease.name: lease for lease in self.list().open if lease.output == output}
        copy = self._read(RunPaths(Path(output)).lease)
        if isinstance(copy, Lease) and copy.name not in found:
            # The folder may have been moved, so its own path in the copy is outdated.
            found[copy.name] = replace(copy, output=output)
        return tuple(found.values())

    def remove_damaged(self, damaged: DamagedLease) -> None:
        """Remove an unreadable lease, because its endpoint does not exist (TerminalError)."""
        try:
            _remove(damaged.path)
        except OSError as error:
            raise TerminalError(
                f"lease {damaged.path} cannot be removed: {error.strerror}; its endpoint has "
                "ended, so remove the file"
            ) from error

    def _files(self, lease: Lease) -> tuple[Path, ...]:
        copy = (RunPaths(Path(lease.output)).lease,) if lease.output else ()
        return (self.path(lease.name), *copy)

    def _read(self, path: Path) -> Lease | DamagedLease | None:
        name = unquote(path.name.removesuffix(".json"))
        try:
            return read_lease(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            reason = f"{type(error).__name__} {' '.join(str(error).split())}"
            return DamagedLease(
                name=name, path=path, reason=reason, heartbeat_at=_written_at(path) or 0.0
            )


def read_lease(path: Path) -> Lease:
    """Read one lease file, with its last heartbeat.

    Raises:
        OSError, ValueError, TypeError, KeyError, AttributeError: Not there, or damaged.
    """
    lease = Lease.from_dict(orjson.loads(path.read_bytes()))
    beat = path.stat().st_mtime_ns / 1e9
    return replace(lease, heartbeat_at=max(lease.heartbeat_at, beat))


def _replace(path: Path, lease: Lease) -> None:
    beat = lease.heartbeat_at
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        beat = max(beat, read_lease(path).heartbeat_at)
    try:
        _write(path, lease, beat)
    except OSError as error:
        if error.errno not in _DISK_FULL or not path.exists():
            raise
        _write_over(path, lease, beat)


def _write_new(path: Path, lease: Lease) -> None:
    make_folder(path.parent)
    _write(path, lease, lease.heartbeat_at)


def _write(path: Path, lease: Lease, beat: float) -> None:
    write_atomically(path, _bytes(lease), mode=0o600)
    _beat(path, beat)


def _write_over(path: Path, lease: Lease, beat: float) -> None:
    data = _bytes(lease)
    with path.open("rb+") as file:
        file.write(data)
        file.truncate()
        file.flush()
        os.fsync(file.fileno())
    _beat(path, beat)


def _bytes(lease: Lease) -> bytes:
    return orjson.dumps(lease.as_dict(), option=orjson.OPT_INDENT_2)


def _beat(path: Path, now: float) -> None:
    at = round(now * 1e9)
    os.utime(path, ns=(at, at))


def _written_at(path: Path) -> float | None:
    try:
        return path.stat().st_mtime_ns / 1e9
    except OSError:
        return None


def _remove(path: Path) -> None:
    try:
        path.unlink()
    except FileNotFoundError:
        return
    sync_folder(path.parent)
