"""Leases on disk: one file per endpoint that may exist, written before it does.

The book lies in the user's home, so that a sweep finds leases of runs whose folders are gone; a
copy lies in the run's folder. A heartbeat is the file's modification time, because that takes no
room: a full disk must not make a live run look dead.
"""

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote

import orjson

from tasks.core.errors import TerminalError
from tasks.core.lease import Lease
from tasks.storage.atomic import make_folder, sync_folder, write_atomically
from tasks.storage.run_paths import RunPaths

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def state_home(environ: Mapping[str, str]) -> Path:
    """Return where mayfly keeps what outlives a run: `MAYFLY_HOME`, else the XDG state folder."""
    if home := environ.get("MAYFLY_HOME"):
        return Path(home).expanduser()
    if state := environ.get("XDG_STATE_HOME"):
        return Path(state) / "mayfly"
    return Path("~/.local/state/mayfly").expanduser()


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedLease:
    """A lease file that cannot be read; what it names may still bill.

    Attributes:
        name: The endpoint's, from the name of the file.
        reason: One line.
    """

    name: str
    path: Path
    reason: str

    def __str__(self) -> str:
        return (
            f"lease {self.path} cannot be read: {self.reason}; "
            f"look whether endpoint {self.name} still exists, end it, then remove the file"
        )


class Leases(NamedTuple):
    """All lease files, by name: those that can be read and those that cannot."""

    open: tuple[Lease, ...]
    damaged: tuple[DamagedLease, ...]


class LeaseBook:
    """The leases of one user on one machine, in `<home>/leases/<name>.json`."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "leases"

    def path(self, name: str) -> Path:
        """Return where a lease lies; any name makes one plain file name."""
        return self.folder / f"{quote(name, safe='')}.json"

    def open(self, lease: Lease) -> None:
        """Write a lease; when this returns, it survives a power cut.

        Raises:
            TerminalError: It could not be written, or another owner's lease has this name; do
                not create the endpoint.
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
        try:
            make_folder(self.folder, mode=0o700)
            for path in self._places(lease):
                make_folder(path.parent)
                _write(path, lease)
        except OSError as error:
            self.close(lease)
            raise TerminalError(
                f"lease {self.path(lease.name)} cannot be written: {error.strerror}; "
                "make room or set MAYFLY_HOME, nothing was created"
            ) from error

    def renew(self, lease: Lease, now: float) -> Lease:
        """Note that the owner lives; return the renewed lease.

        A lease that somebody removed meanwhile is written again: its endpoint may exist.

        Raises:
            TerminalError: Neither worked.
        """
        renewed = lease.renewed(now)
        for path in self._places(lease):
            try:
                _beat(path, now)
            except FileNotFoundError:
                self.update(renewed)
        return renewed

    def update(self, lease: Lease) -> None:
        """Write what is known now, such as ids or a new owner; survives a power cut.

        On a full disk it is written over the old content in place.

        Raises:
            TerminalError: It could not be written.
        """
        try:
            make_folder(self.folder, mode=0o700)
            for path in self._places(lease):
                try:
                    _write(path, lease)
                except OSError as error:
                    if error.errno not in _NO_ROOM or not path.exists():
                        raise
                    _write_over(path, lease)
        except OSError as error:
            raise TerminalError(
                f"lease {self.path(lease.name)} cannot be written: {error.strerror}; "
                f"endpoint {lease.name} may exist, make room and run mayfly sweep afterwards"
            ) from error

    def close(self, lease: Lease) -> None:
        """Remove a lease, because its endpoint is gone; closing twice is closing once.

        The copy goes first: until the book's own file has gone, a sweep still looks.
        """
        book, *copies = self._places(lease)
        for path in copies:
            try:
                _remove(path)
            except OSError:  # The run's folder may have gone; the book is what counts.
                continue
        _remove(book)

    def list(self) -> Leases:
        """Return all leases; files that cannot be read are reported, not skipped."""
        found = [self._read(path) for path in sorted(self.folder.glob("[!.]*.json"))]
        return Leases(
            tuple(item for item in found if isinstance(item, Lease)),
            tuple(item for item in found if isinstance(item, DamagedLease)),
        )

    def find(self, name: str) -> Lease | DamagedLease | None:
        """Return the lease of an endpoint, or None when there is none."""
        return self._read(self.path(name))

    def _places(self, lease: Lease) -> tuple[Path, ...]:
        copy = (RunPaths(Path(lease.output)).lease,) if lease.output else ()
        return (self.path(lease.name), *copy)

    def _read(self, path: Path) -> Lease | DamagedLease | None:
        name = unquote(path.name.removesuffix(".json"))
        try:
            return read_lease(path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            reason = f"{type(error).__name__} {' '.join(str(error).split())}"
            return DamagedLease(name=name, path=path, reason=reason)


def read_lease(path: Path) -> Lease:
    """Read one lease file, with its last heartbeat.

    Raises:
        OSError, ValueError, TypeError, KeyError, AttributeError: Not there, or damaged.
    """
    lease = Lease.from_dict(orjson.loads(path.read_bytes()))
    beat = path.stat().st_mtime_ns / 1e9
    return replace(lease, heartbeat_at=max(lease.heartbeat_at, beat))


def _write(path: Path, lease: Lease) -> None:
    write_atomically(path, _bytes(lease), mode=0o600)
    _beat(path, lease.heartbeat_at)


def _write_over(path: Path, lease: Lease) -> None:
    data = _bytes(lease)
    with path.open("rb+") as file:
        file.write(data)
        file.truncate()
        file.flush()
        os.fsync(file.fileno())
    _beat(path, lease.heartbeat_at)


def _bytes(lease: Lease) -> bytes:
    return orjson.dumps(lease.as_dict(), option=orjson.OPT_INDENT_2)


def _beat(path: Path, now: float) -> None:
    at = round(now * 1e9)
    os.utime(path, ns=(at, at))


def _remove(path: Path) -> None:
    try:
        path.unlink()
    except FileNotFoundError:
        return
    sync_folder(path.parent)
