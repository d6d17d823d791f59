"""A run's folder: what may become one, whose it is right now, and what in it is done."""

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
    """Return the manifest that a folder holds, without a look at anything else in it.

    Raises:
        BadRequest: It is damaged, or of another version of mayfly.
    """
    paths = _refreshed(output)[0] if is_remote(output) else paths_of(output)
    return load_manifest(paths.manifest)


def check_output(output: str, wanted: Manifest | None = None) -> Manifest | None:
    """Return the manifest of the run that a folder holds, or None for a new or empty one.

    This writes nothing there, so a plan may call it.

    Args:
        output: `--output`.
        wanted: The job that is to run there; None only looks.

    Raises:
        BadRequest: A file, a place that cannot be written or a store that cannot be reached, a
            folder of something else, or an earlier run of another job (naming what differs).
    """
    if is_remote(output):
        return _check_remote(output, wanted)
    paths = paths_of(output)
    folder = paths.folder
    if folder.exists() and not folder.is_dir():
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


def _check_remote(output: str, wanted: Manifest | None) -> Manifest | None:
    """Do what `check_output` does for an output on an object store."""
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
    """Take back copies of the input when the block ends and no run has begun in the folder.

    Args:
        even_at_success: Otherwise only when the block raises.
    """
    paths = RunPaths(Path(output).expanduser())
    if "://" in output or paths.kept.exists():
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
    """Refuse a folder that another run is using now, without holding it; writes nothing.

    Raises:
        BadRequest: Says whose it is.
    """
    paths = paths_of(output)
    try:
        lock = os.open(paths.lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        # Shared, and for a moment: two that only look do not see each other.
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _in_use(paths) from None
    finally:
        os.close(lock)


class RunFolder:
    """A run's folder, held under a lock from `open` to `close`.

    Attributes:
        paths: Where things lie on this machine.
        manifest: As it stands on disk.
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
        """Check, create if need be, lock and reconcile the folder of a run.

        The manifest that comes back is the earlier run's where there is one, with its shards (and
        those of `wanted` after them, where the input grew), and `wanted` otherwise. A shard counts
        as done when its part is committed, whatever the manifest got to say.

        Args:
            output: `--output`.
            wanted: The job, with `done` and `runs` empty.
            now: Unix time in seconds, for those that the lock keeps out.
            log: Receives a line for whatever an object store rejects or lacks.

        Raises:
            BadRequest: As `check_output`, or another run is using the folder. What was there
                before is untouched.
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
        """Make this the manifest; when it returns, it survives a power cut.

        Raises:
            TerminalError: The disk does not take it, or another run has taken the output over.
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
        """Say in the manifest that a shard's part is committed, and drop its journal."""
        self.commit(self.manifest.with_done(index, tally))
        self.paths.journal(index).unlink(missing_ok=True)

    def close(self, *, ended_by: BaseException | None = None) -> None:
        """Let others use the folder; closing twice is closing once.

        What an object store does not have yet is uploaded first; the endpoint has ended by then.

        Args:
            ended_by: What the run was ended by: that is raised, and the rest said. Of an
                interruption somebody waits for the end, so that less time is given to it.

        Raises:
            TerminalError: An object store did not take everything; it is kept on this machine.
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
    """Return the manifest with exactly those shards done whose parts are committed."""
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
    """Return the sums over answers that are journalled and in no part yet; writes nothing."""
    tally = Tally()
    for shard in manifest.left:
        for answer in _journal(paths, manifest, shard).values():
            tally = tally.plus(answer)
    return tally


def _journal(paths: RunPaths, manifest: Manifest, shard: Shard) -> dict[int, Answer]:
    return load_journal(paths.journal(shard.index), fingerprint=manifest.fingerprint, shard=shard)


def _check_writable(folder: Path) -> None:
    """Look up the tree, without writing, for the folder in which something would be created."""
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise BadRequest(f"output {folder} cannot be created: {place} is a file; give a folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise BadRequest(
            f"output {folder} cannot be written: no permission in {place}; give another folder"
        )


def _foreign(paths: RunPaths) -> str | None:
    """Return a name that a run which was cut off before its first manifest does not leave."""
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
    """Refuse parts that would be read among the results without being of this run."""
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
