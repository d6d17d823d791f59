"""Read remote files by blocks, which are fetched once and cached with the run.

A file smaller than a block takes one request, so all small files are local before anything is
rented. Blocks are separate files, written atomically, so that several processes can use them.
"""

import hashlib
import io
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from mayfly.storage.atomic import temporary_beside
from mayfly.storage.http_files import HttpFiles
from mayfly.storage.uri_credentials import ENVIRON, hide_in, reveal_in

BLOCK = 4 * 2**20
HELD_BLOCKS = 4
"""Blocks in memory per open file."""

LEAVE_FREE = 4 * 2**30
"""Free disk space to leave: with less, blocks are not cached."""


class RemoteFile(NamedTuple):
    """A remote file, as described by a listing or by the first response.

    Attributes:
        path: Path in its file system, with credentials masked.
        version: Changes with its content: an ETag or a time; "" if unknown.
    """

    path: str
    size: int
    version: str


class BlockStore:
    """The blocks of all remote files of an input.

    Args:
        filesystem: `HttpFiles`, or an fsspec file system.
        folder: Folder of the blocks.
        uri: The INPUT with masked credentials; the real ones are in `environ`.
    """

    def __init__(
        self, filesystem: Any, folder: Path, uri: str, environ: Mapping[str, str] = ENVIRON
    ) -> None:
        self._filesystem = filesystem
        self._folder = folder
        self._uri = uri
        self._environ = environ

    def close(self) -> None:
        """Close our connections; those of fsspec are shared."""
        if isinstance(self._filesystem, HttpFiles):
            self._filesystem.close()

    def begin(self, path: str, size: int | None, version: str) -> RemoteFile:
        """Return size and version of a file; over HTTP, this fetches its first block."""
        with self._hiding():
            if isinstance(self._filesystem, HttpFiles):
                return self._begin_http(path)
            if size is None:
                about = self._filesystem.info(self._reveal(path))
                size, version = int(about["size"]), version_of(about)
            return RemoteFile(path, size, version)

    def _begin_http(self, path: str) -> RemoteFile:
        folder = self._home(path)
        note = folder / "file.json"
        try:
            known = json.loads(note.read_text())
        except (OSError, ValueError):
            known = {}
        folder.mkdir(parents=True, exist_ok=True)
        whole = temporary_beside(folder / "whole")
        with _Lazy(whole) as sink:
            head = self._filesystem.head(
                self._reveal(path), BLOCK, known=known.get("version", ""), sink=sink.write
            )
        if head.unchanged:
            return RemoteFile(path, known["size"], known["version"])
        file = RemoteFile(path, head.size, head.version)
        if head.whole:
            self._cut(file, whole)
        elif head.first:
            self._keep(file, 0, head.first)
        # Without a version, a later change of the file cannot be detected.
        if head.version:
            temporary = temporary_beside(note)
            temporary.write_text(json.dumps({"size": head.size, "version": head.version}))
            temporary.replace(note)
        return file

    def block(self, file: RemoteFile, number: int, *, keep: bool = True) -> bytes:
        """Return a block, from the cache or from the server.

        Args:
            keep: Whether to cache a block from the server.
        """
        kept = self._block_path(file, number)
        try:
            data = kept.read_bytes()
        except OSError:
            start = number * BLOCK
            end = min(start + BLOCK, file.size)
            data = self._fetch(file, start, end)
            if keep:
                self._keep(file, number, data)
        return data

    def _fetch(self, file: RemoteFile, start: int, end: int) -> bytes:
        with self._hiding():
            path = self._reveal(file.path)
            data = bytes(self._filesystem.cat_file(path, start=start, end=end))
        if len(data) != end - start:
            raise OSError(f"received {len(data):,} bytes instead of {end - start:,}")
        return data

    def _keep(self, file: RemoteFile, number: int, data: bytes) -> None:
        kept = self._block_path(file, number)
        kept.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(kept.parent).free < LEAVE_FREE + len(data) and file.size > BLOCK:
            return
        temporary = temporary_beside(kept)
        temporary.write_bytes(data)
        temporary.replace(kept)

    def _cut(self, file: RemoteFile, whole: Path) -> None:
        """Split a file into blocks that was sent as a whole, because its server has no ranges."""
        self._block_path(file, 0).parent.mkdir(parents=True, exist_ok=True)
        with whole.open("rb") as opened:
            for number, data in enumerate(iter(lambda: opened.read(BLOCK), b"")):
                temporary = temporary_beside(self._block_path(file, number))
                temporary.write_bytes(data)
                temporary.replace(self._block_path(file, number))
        whole.unlink()

    def _reveal(self, path: str) -> str:
        return reveal_in(path, self._uri, self._environ)

    @contextmanager
    def _hiding(self) -> Iterator[None]:
        """Remove credentials from the messages of a library's exceptions."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - libraries raise what they like
            text = " ".join(str(error).split()) or type(error).__name__
            raise OSError(hide_in(text, self._uri, self._environ)) from None

    def _home(self, path: str) -> Path:
        return self._folder / hashlib.sha256(path.encode()).hexdigest()[:24]

    def _block_path(self, file: RemoteFile, number: int) -> Path:
        version = hashlib.sha256(f"{file.size} {file.version}".encode()).hexdigest()[:16]
        return self._home(file.path) / version / f"{number:06d}"


class BlockFile(io.RawIOBase):
    """A remote file as a Python file, read by blocks; see `BlockStore.block`."""

    def __init__(self, store: BlockStore, file: RemoteFile, *, keep: bool = True) -> None:
        self._store = store
        self._file = file
        self._keep = keep
        self._at = 0
        self._held: dict[int, bytes] = {}

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._file.size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        end = self._file.size if size is None or size < 0 else min(self._at + size, self._file.size)
        pieces = list(self._pieces(self._at, end))
        self._at = max(self._at, end)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _pieces(self, start: int, end: int) -> Iterator[bytes]:
        while start < end:
            number, within = divmod(start, BLOCK)
            data = self._block(number)[within : within + end - start]
            yield data
            start += len(data)

    def _block(self, number: int) -> bytes:
        data = self._held.pop(number, None)
        if data is None:
            data = self._store.block(self._file, number, keep=self._keep)
        self._held[number] = data
        if len(self._held) > HELD_BLOCKS:
            del self._held[next(iter(self._held))]
        return data


class _Lazy:
    """A file that is created with its first byte."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: Any = None

    def write(self, data: bytes) -> None:
        if self._file is None:
            self._file = self._path.open("wb")
        self._file.write(data)

    def __enter__(self) -> "_Lazy":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._file is not None:
            self._file.close()
            if kind is not None:
                self._path.unlink()


def version_of(about: Any) -> str:
    """Return a file's version from a listing: a field that changes with its content."""
    for name in ("ETag", "etag", "blob_id", "md5Hash", "md5", "content_settings", "LastModified"):
        if about.get(name):
            return str(about[name])
    for name in ("last_modified", "updated", "mtime", "created", "last_commit"):
        if about.get(name):
            return str(about[name])
    return ""
