"""A run's folder: check it, lock it, and find the finished shards in it."""

import fcntl
import json
import os
import shutil
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mayfly.models.errors import BadRequest, TerminalError
from mayfly.models.manifest import Manifest, differences
from mayfly.models.rows import Answer, Tally
from mayfly.models.shards import Shard
from mayfly.storage.atomic import make_folder
from mayfly.storage.journal import load_journal
from mayfly.storage.manifest_store import commit_manifest, load_manifest
from mayfly.storage.output_location import is_remote, paths_of
from mayfly.storage.parts import part_label
from mayfly.storage.run_paths import RunPaths, part_name
from mayfly.storage.work_folder import done_elsewhere

if TYPE_CHECKING:
    from mayfly.storage.object_store import Listing
    from mayfly.storage.remote_output import Claim


def _refreshed(output: str) -> "tuple[RunPaths, Listing]":
    # Imported for an output on an object store alone.
    from mayfly.storage.remote_output import refresh  # noqa: PLC0415

    return refresh(output)


def earlier_manifest(output: str) -> Manifest | None:
    """Return the manifest of a folder, without checking anything else in it.

    Raises:
        BadRequest: It is damaged, or of another version of mayfly.
    """
    paths = _refreshed(output)[0] if is_remote(output) else paths_of(output)
    return load_manifest(paths.manifest)


def check_output(output: str, wanted: Manifest | None = None) -> Manifest | None:
    """Return the manifest of the run in a folder, or None for a new or empty one.

    Writes nothing there, so a plan may call it.

    Args:
        output: `--output`.
        wanted: The job to run there; None does not compare jobs.

    Raises:
        BadRequest: It is a file, cannot be written, is on a store that cannot be reached, holds
            other files, or belongs to another job (the message names the differences).
    """
    if is_remote(output):
        return _check_remote(output, wanted)
    paths = paths_of(output)
    folder = paths.folder
    if _exists(folder) and not folder.is_dir():
        raise BadRequest(f"output {folder} is a file; give a folder")
    _check_writable(folder)
    if not folder.is_dir():
        return None
    earlier = load_manifest(paths.manifest)
    if earlier is None:
        if foreign := _foreign(paths):
            raise BadRequest(
                f"output {folder} holds {foreign} and is not an earlier run; "
                "give a new or empty folder"
            )
        return None
    _check_same_job(str(folder), earlier, wanted)
    _check_parts(paths, earlier)
    return earlier


def _exists(path: Path) -> bool:
    """Whether a path exists.

    Raises:
        BadRequest: It cannot exist, such as a name that is too long, or cannot be looked up.
    """
    try:
        return path.exists()
    except OSError as error:
        raise BadRequest(
            f"output {path} cannot be written: {error.strerror}; give another folder"
        ) from error


def _check_remote(output: str, wanted: Manifest | None) -> Manifest | None:
    """Check an output on an object store; see `check_output`."""
    paths, listed = _refreshed(output)
    earlier = load_manifest(paths.manifest)
    if earlier is None:
        return None
    _check_same_job(output, earlier, wanted)
    expected = {part_name(shard.index) for shard in earlier.shards}
    for name in sorted(listed):
        if "/" not in name and name.endswith(".parquet") and name not in expected:
            raise _not_of_this_run(output, name)
    return earlier


def _check_same_job(output: str, earlier: Manifest, wanted: Manifest | None) -> None:
    if wanted is not None and (lines := differences(earlier, wanted)):
        raise BadRequest(
            f"output {output} belongs to another job: {'; '.join(lines)}; "
            "give another --output, or the same job"
        )


@contextmanager
def leaving_nothing_unless_begun(output: str, *, even_at_success: bool = True) -> Iterator[None]:
    """Remove copies of the input at the end of the block if no run has started in the folder.

    Args:
        even_at_success: Otherwise only when the block raises.
    """
    paths = RunPaths(Path(output).expanduser())
    if "://" in output or _exists(paths.kept):
        yield
        return
    existed = paths.folder.exists()
    fine = False
    try:
        yield
        fine = True
    finally:
        if (even_at_success or not fine) and not paths.manifest.exists():
            shutil.rmtree(paths.input, ignore_errors=True)
            # A folder that holds anything else stays.
            with suppress(OSError):
                paths.kept.rmdir()
                if not existed:
                    paths.folder.rmdir()


def check_free(output: str) -> None:
    """Raise if another run is using a folder; does not lock it and writes nothing.

    Raises:
        BadRequest: It is in use; the message says by which process.
    """
    paths = paths_of(output)
    if _is_locked(paths):
        raise _in_use(paths)


def holder_has_ended(paths: RunPaths, host: str) -> bool:
    """Return whether the process on `host` that wrote the lock has ended, as far as can be told.

    The kernel releases a lock with its process; the lock of another machine cannot be checked.
    """
    return host == socket.gethostname() and not _is_locked(paths)


def _is_locked(paths: RunPaths) -> bool:
    try:
        lock = os.open(paths.lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # A brief shared lock, so that two checks do not conflict.
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


class RunFolder:
    """A run's folder, locked from `open` to `close`.

    Attributes:
        paths: Paths on this machine.
        manifest: The manifest on disk.
    """

    def __init__(
        self,
        paths: RunPaths,
        manifest: Manifest,
        lock: int,
        *,
        remote: "Claim | None" = None,
        log: Callable[[str], object] = lambda _: None,
    ) -> None:
        self.paths = paths
        self.manifest = manifest
        self._lock = lock
        self._remote, self._log = remote, log

    @classmethod
    def open(
        cls,
        output: str,
        wanted: Manifest,
        *,
        now: float,
        log: Callable[[str], object] = lambda _: None,
    ) -> "RunFolder":
        """Check, create if necessary, lock and reconcile the folder of a run.

        The manifest is the earlier run's if there is one, with its shards (followed by those of
        `wanted` if the input grew), and `wanted` otherwise. A shard counts as done if its part is
        committed, regardless of the manifest on disk.

        Args:
            output: `--output`.
            wanted: The job, with `done` and `runs` empty.
            now: Unix time in seconds, shown to others that find the folder locked.
            log: Receives a line for whatever an object store rejects or lacks.

        Raises:
            BadRequest: As `check_output`, or another run is using the folder, which is then
                unchanged.
        """
        check_output(output, wanted)
        paths = paths_of(output)
        try:
            make_folder(paths.kept)
            lock = _lock(paths, now)
        except OSError as error:
            raise BadRequest(
                f"output {paths.folder} cannot be written: {error.strerror}; give another folder"
            ) from error
        remote: Claim | None = None
        try:
            if is_remote(output):
                from mayfly.storage.remote_output import claim  # noqa: PLC0415 - see _refreshed

                remote = claim(output, paths, now=now, log=log)
                earlier = load_manifest(paths.manifest)
                if earlier is not None:
                    _check_same_job(output, earlier, wanted)
            else:
                earlier = check_output(output, wanted)
            make_folder(paths.journals)
            for leftover in paths.kept.glob(".part-*.tmp"):
                leftover.unlink(missing_ok=True)
            manifest = earlier or wanted
            if earlier is not None and wanted.input.get("before") == earlier.input["fingerprint"]:
                manifest = replace(earlier, input=wanted.input, shards=wanted.shards)
            folder = cls(paths, manifest, lock, remote=remote, log=log)
            folder.commit(reconciled(paths, folder.manifest))
        except BaseException:
            if remote is not None:
                remote.give_up()
            os.close(lock)
            raise
        if remote is not None:
            here = (folder.manifest.tally + journalled(paths, folder.manifest)).done
            if lost := remote.rows_lost(here):
                log(
                    f"{lost:,} rows that {remote.died_on} had answered were in no finished shard "
                    "when it died; they are sent again"
                )
            remote.mirror.start()
        return folder

    def commit(self, manifest: Manifest) -> None:
        """Write the manifest; on return it survives a power failure.

        Raises:
            TerminalError: It cannot be written, or another run has taken over the output.
        """
        commit_manifest(self.paths.manifest, manifest)
        self.manifest = manifest
        if self._remote is not None:
            self._remote.mirror.changed()
            self._remote.check()

    def fetch_parts(self, indices: Iterable[int]) -> None:
        """Download the parts of some shards, where they are at an object store only.

        Raises:
            TerminalError: That cannot be done.
        """
        if self._remote is not None:
            self._remote.fetch_parts(indices)

    def record_done(self, index: int, tally: Tally) -> None:
        """Record in the manifest that a shard's part is committed, and delete its journal."""
        self.commit(self.manifest.with_done(index, tally))
        self.paths.journal(index).unlink(missing_ok=True)

    def close(self, *, ended_by: BaseException | None = None) -> None:
        """Unlock the folder; may be called repeatedly.

        Files missing at an object store are uploaded first; the endpoint has ended by then.

        Args:
            ended_by: The exception that ended the run: with one, problems are only logged. After
                an interruption the user waits, so there is less time for uploads.

        Raises:
            TerminalError: Not everything could be uploaded; it is kept on this machine.
        """
        if self._lock < 0:
            return
        try:
            problem = None
            if self._remote is not None:
                waited_for = ended_by is not None and not isinstance(ended_by, Exception)
                problem = self._remote.close(interrupted=waited_for)
        finally:
            os.close(self._lock)
            self._lock = -1
        if problem is not None:
            if ended_by is None:
                raise TerminalError(problem)
            self._log(problem)

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self.close(ended_by=error)


def reconciled(paths: RunPaths, manifest: Manifest) -> Manifest:
    """Return the manifest with the shards marked as done that have a committed part."""
    done: dict[int, Tally] = {}
    elsewhere = done_elsewhere(paths)
    for shard in manifest.shards:
        part = paths.part(shard.index)
        label = part_label(part)
        if label is not None and label[:2] == (manifest.fingerprint, shard):
            done[shard.index] = label.tally
        elif shard.index in manifest.done and elsewhere(part.name) and not part.exists():
            done[shard.index] = manifest.done[shard.index]
    lost = manifest.done.keys() - done.keys()
    for index, tally in done.items():
        manifest = manifest.with_done(index, tally)
    return manifest.with_left(lost)


def journalled(paths: RunPaths, manifest: Manifest) -> Tally:
    """Return the totals over journalled answers that are in no part yet; writes nothing."""
    tally = Tally()
    for shard in manifest.left:
        for answer in _journal(paths, manifest, shard).values():
            tally = tally.plus(answer)
    return tally


def _journal(paths: RunPaths, manifest: Manifest, shard: Shard) -> dict[int, Answer]:
    return load_journal(paths.journal(shard.index), fingerprint=manifest.fingerprint, shard=shard)


def _check_writable(folder: Path) -> None:
    """Check that a folder can be written, by its nearest existing parent; writes nothing."""
    parent = folder.absolute()
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    if not parent.is_dir():
        raise BadRequest(f"output {folder} cannot be created: {parent} is a file; give a folder")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise BadRequest(
            f"output {folder} cannot be written: no permission in {parent}; give another folder"
        )


def _foreign(paths: RunPaths) -> str | None:
    """Return the name of a file that is not from a run killed before its first manifest."""
    for path in sorted(paths.folder.iterdir()):
        if path != paths.kept:
            return path.name
    if not paths.kept.is_dir():
        return paths.kept.name if paths.kept.exists() else None
    for path in sorted(paths.kept.iterdir()):
        if path in (paths.lock, paths.journals, paths.input) or path.suffix == ".tmp":
            continue
        return f"{paths.kept.name}/{path.name}"
    return None


def _check_parts(paths: RunPaths, manifest: Manifest) -> None:
    """Reject parts of other runs, which would be read with the results."""
    expected = {part_name(shard.index) for shard in manifest.shards}
    for path in sorted(paths.folder.glob("*.parquet")):
        label = part_label(path) if path.name in expected else None
        foreign = label is not None and label.fingerprint != manifest.fingerprint
        if path.name not in expected or foreign:
            raise _not_of_this_run(str(paths.folder), path.name)


def _not_of_this_run(output: str, name: str) -> BadRequest:
    return BadRequest(
        f"output {output} holds {name}, which is not of this run; move it away and run again"
    )


def _lock(paths: RunPaths, now: float) -> int:
    lock = os.open(paths.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": now}
        os.ftruncate(lock, 0)
        os.pwrite(lock, json.dumps(holder).encode(), 0)
    except BlockingIOError:
        os.close(lock)
        raise _in_use(paths) from None
    except BaseException:
        os.close(lock)
        raise
    return lock


def _in_use(paths: RunPaths) -> BadRequest:
    return BadRequest(
        f"output {paths.folder} is in use by {_holder(paths)}; wait until it has ended, or stop it"
    )


def _holder(paths: RunPaths) -> str:
    try:
        holder = json.loads(paths.lock.read_text())
        since = datetime.fromtimestamp(holder["since"], UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"process {holder['pid']} on {holder['host']} since {since}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another run"
