"""The work folder of an output on an object store: which files the store has, in which version.

`_mayfly/store.json` has, for every transferred object, the store's tag and a mark of the local
file, so that unchanged files are not transferred again.
"""

import hashlib
import json
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from mayfly.models.manifest import Manifest
from mayfly.storage.atomic import make_folder, move_into_place, temporary_beside, write_atomically
from mayfly.storage.manifest_store import load_manifest
from mayfly.storage.object_store import (
    Listing,
    ObjectStore,
    RangeReader,
    Stored,
    Version,
    open_store,
)
from mayfly.storage.run_paths import KEPT, RunPaths, part_name

MANIFEST = f"{KEPT}/manifest.json"
LEASE = f"{KEPT}/lease.json"
SMALL = (
    f"{KEPT}/report.json",
    f"{KEPT}/report.html",
    f"{KEPT}/dead_letters.parquet",
    f"{KEPT}/teardown.json",
    LEASE,
)
"""Files that are mirrored besides parts, the manifest and the reports of single runs."""

DOWNLOADS = 8
"""Concurrent downloads of parts."""


class WorkFolder:
    """A work folder, and the index of its files at the store.

    Attributes:
        paths: Paths on this machine.
        id: Identifies this work folder in the store's lock.
    """

    def __init__(self, paths: RunPaths, uri: str) -> None:
        self.paths, self._uri = paths, uri
        try:
            kept = json.loads(paths.store_index.read_bytes())
            self.id, self._objects = str(kept["work"]), dict(kept["objects"])
        except (OSError, ValueError, KeyError, TypeError):
            self.id, self._objects = uuid.uuid4().hex, {}

    def save(self) -> None:
        """Write the index; OSError if it cannot be written."""
        kept = {"uri": self._uri, "work": self.id, "objects": self._objects}
        write_atomically(self.paths.store_index, orjson.dumps(kept))

    def path(self, name: str) -> Path:
        """Return the path of an object on this machine."""
        return self.paths.folder / name

    def knows(self, name: str) -> bool:
        """Whether an object was once up- or downloaded."""
        return name in self._objects

    def known(self, below: str) -> list[str]:
        """Return the objects below a prefix that were once up- or downloaded."""
        return [name for name in self._objects if name.startswith(below)]

    def is_current(self, name: str, stored: Stored) -> bool:
        """Whether the store has the version of an object that was last transferred."""
        tag = self._objects.get(name, {}).get("e_tag")
        return tag is not None and tag == _tag(stored.version)

    def is_changed(self, name: str) -> bool:
        """Whether a file has changed since it was transferred; False if there is none."""
        mark = mark_of(self.path(name))
        return mark is not None and self._objects.get(name, {}).get("mark") != mark

    def note(self, name: str, version: Version, mark: str | None) -> None:
        """Record that a file and an object are identical."""
        self._objects[name] = {"e_tag": _tag(version), "mark": mark}

    def forget(self, name: str) -> None:
        """Record that the store no longer has an object."""
        self._objects.pop(name, None)

    def fetch(self, store: ObjectStore, name: str) -> None:
        """Download an object, replacing its file.

        Raises:
            StoreError, OSError: It cannot be read or written; the old file is kept.
        """
        path = self.path(name)
        make_folder(path.parent)
        temporary = temporary_beside(self.paths.kept / path.name)
        try:
            version = store.download(name, temporary)
            move_into_place(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        self.note(name, version, mark_of(path))

    def pull(self, store: ObjectStore, listed: Listing) -> None:
        """Update manifest, reports, dead letters, proofs and lease from the store.

        Files that have changed here since their transfer are kept if their object has not changed.
        """
        make_folder(self.paths.kept)
        if not self.is_current(MANIFEST, listed[MANIFEST]):
            self._pull_manifest(store)
        for name in _small(listed):
            if not self.is_current(name, listed[name]):
                self.fetch(store, name)
        for name in [name for name in _small(self._objects) if name not in listed]:
            self.path(name).unlink(missing_ok=True)
            self.forget(name)
        # Local parts that were replaced on another machine do not match the manifest.
        for name in self.known("part-"):
            if name not in listed or not self.is_current(name, listed[name]):
                if not self.is_changed(name):
                    self.path(name).unlink(missing_ok=True)
                self.forget(name)
        for name in listed:
            if is_part(name) and not self.path(name).exists():
                self._objects.setdefault(name, {"e_tag": None, "mark": None})
        self.save()

    def pull_parts(self, store: ObjectStore, listed: Listing) -> None:
        """Download the parts that this machine does not have, or has as they were before."""
        self._pull_parts(store, self._stale_parts(listed))

    def pull_unrecorded_parts(self, store: ObjectStore, listed: Listing) -> None:
        """Do what `pull_parts` does, but leave at the store what the manifest has the sums of."""
        manifest = load_manifest(self.paths.manifest)
        done = set() if manifest is None else {part_name(index) for index in manifest.done}
        names = self._stale_parts(listed)
        for name in names:
            self._drop_journal(name)
        self._pull_parts(
            store, [name for name in names if self.path(name).exists() or name not in done]
        )

    def pull_these_parts(self, store: ObjectStore, indices: Iterable[int]) -> None:
        """Download the parts of some shards that the store has and this machine has not."""
        names = [part_name(index) for index in indices]
        missing = [name for name in names if self.knows(name) and not self.path(name).exists()]
        with ThreadPoolExecutor(DOWNLOADS) as pool:
            list(pool.map(partial(self.fetch, store), missing))
        if missing:
            self.save()

    def _stale_parts(self, listed: Listing) -> list[str]:
        return [
            name
            for name, stored in listed.items()
            if is_part(name) and not (self.path(name).exists() and self.is_current(name, stored))
        ]

    def _pull_parts(self, store: ObjectStore, names: list[str]) -> None:
        with ThreadPoolExecutor(DOWNLOADS) as pool:
            for name, _ in zip(names, pool.map(partial(self.fetch, store), names), strict=True):
                self._drop_journal(name)
        if names:
            self.save()

    def _drop_journal(self, part: str) -> None:
        """Remove the journal of a shard that another machine has finished."""
        index = int(Path(part).stem.removeprefix("part-"))
        self.paths.journal(index).unlink(missing_ok=True)

    def pull_journals(self, store: ObjectStore, listed: Listing) -> None:
        """Download the journals that a run which ended in order has left at the store."""
        for name, stored in listed.items():
            path = self.path(name)
            if name.startswith(JOURNALS) and (
                not path.exists() or path.stat().st_size < stored.size
            ):
                self.fetch(store, name)
        self.save()

    def set_aside(self) -> None:
        """Rename the work folder, because the output was removed from the store."""
        aside = self.paths.folder.with_name(
            f"{self.paths.folder.name}.removed-{uuid.uuid4().hex[:6]}"
        )
        self.paths.folder.rename(aside)

    def _pull_manifest(self, store: ObjectStore) -> None:
        before = load_manifest(self.paths.manifest)
        self.fetch(store, MANIFEST)
        after = load_manifest(self.paths.manifest)
        if before is None or after is None or before.fingerprint != after.fingerprint:
            return
        recorded = {run.get("run") for run in after.runs}
        if more := [run for run in before.runs if run.get("run") not in recorded]:
            self._write_manifest(replace(after, runs=(*after.runs, *more)))

    def _write_manifest(self, manifest: Manifest) -> None:
        data = orjson.dumps(manifest.as_dict(), option=orjson.OPT_INDENT_2)
        write_atomically(self.paths.manifest, data)


JOURNALS = f"{KEPT}/journal/"


def is_part(name: str) -> bool:
    """Whether an object is a part by its name."""
    number = name.removeprefix("part-").removesuffix(".parquet")
    return name == f"part-{number}.parquet" and number.isdigit() and len(number) == 6


def mark_of(path: Path) -> str | None:
    """Return a mark that changes with a file's content; None if there is no file.

    Size and time for a part, which is replaced as a whole; a digest for small files, because the
    time of a lease is its heartbeat.
    """
    try:
        if is_part(path.name):
            state = path.stat()
            return f"{state.st_size} {state.st_mtime_ns}"
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def each_small(paths: RunPaths) -> Iterator[str]:
    """Yield the names of existing files that are mirrored besides parts and the manifest."""
    for path in (*(paths.folder / name for name in SMALL), *paths.kept.glob("runs/*/report.*")):
        if path.is_file() and path.suffix != ".tmp":
            yield path.relative_to(paths.folder).as_posix()


def _small(names: Iterable[str]) -> list[str]:
    return [name for name in names if name in SMALL or name.startswith(f"{KEPT}/runs/")]


def _tag(version: Version) -> str | None:
    return None if version.e_tag is None else version.e_tag.removeprefix("W/").strip('"')


def done_elsewhere(paths: RunPaths) -> Callable[[str], bool]:
    """Return a predicate: whether a part, by name, is at the store though not on this machine."""
    try:
        kept: dict[str, Any] = json.loads(paths.store_index.read_bytes())["objects"]
    except (OSError, ValueError, KeyError, TypeError):
        return lambda _name: False
    return kept.__contains__


def part_elsewhere(path: Path) -> RangeReader | None:
    """Open a part that is at the store of its work folder; None where no store has it.

    Raises:
        StoreError: The store cannot be reached.
    """
    try:
        kept: dict[str, Any] = json.loads(RunPaths(path.parent).store_index.read_bytes())
        uri, known = str(kept["uri"]), path.name in kept["objects"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return open_store(uri).opened(path.name) if known else None
