"""Read files that cells of an input name: below the input's folder, or by URI.

A dataset may be untrusted, and the files that its cells name are read and sent. So a path cannot
leave the input's folder, neither by `..` nor by a link; and a run that was started from a form
reads nothing outside the folder.
"""

import glob
import os
import posixpath
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from mayfly.models.errors import BadRequest
from mayfly.storage.dataset import Dataset
from mayfly.storage.input_files import is_local, open_filesystem
from mayfly.storage.uri_credentials import ENVIRON, hide_in, masked, revealed


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaFiles:
    """Reads files that the cells of one input name; can be pickled.

    Attributes:
        folder: The input's folder: a local path, or a URI with masked credentials.
        anywhere: Whether a cell may name a URI outside the folder.
    """

    folder: str
    anywhere: bool = True

    @classmethod
    def of(cls, dataset: Dataset, *, anywhere: bool = True) -> Self:
        """Return the reader for the files that a dataset's cells name."""
        return cls(folder=folder_of(dataset), anywhere=anywhere)

    def read(self, name: str, most: int) -> bytes:
        """Return the content of a file.

        Args:
            name: A path, relative to the folder or inside it, or a URI.
            most: Maximum size in bytes.

        Raises:
            ValueError: It cannot be read, must not be read, or is too large; the message says why.
        """
        if (uri := self._remote(name)) is not None:
            return self._reader(uri, most)()
        path = name.removeprefix("file://").removeprefix("local://")
        return self._read_local(path, most, by_uri=path != name)

    def prepared(self, name: str, most: int) -> Callable[[], bytes] | None:
        """Return what reads a remote file in any thread; None for a local one.

        Raises:
            ValueError: As `read`.
        """
        uri = self._remote(name)
        return None if uri is None else self._reader(uri, most)

    def is_local(self, name: str) -> bool:
        """Whether a name is of a file on this machine."""
        try:
            return self._remote(name) is None
        except ValueError:
            return False

    def _remote(self, name: str) -> str | None:
        """Return the URI of a file that is not on this machine, else None."""
        if "\0" in name:
            raise ValueError("a path cannot hold a zero byte")
        if is_local(name):
            path = name.removeprefix("file://").removeprefix("local://")
            return self._below(path) if not is_local(self.folder) and path == name else None
        if not self.anywhere and not self._is_below(name):
            raise ValueError(
                f"{masked(name)} is outside of the input's folder, and a run from a form reads no "
                "files there"
            )
        return name

    def _read_local(self, name: str, most: int, *, by_uri: bool) -> bytes:
        path = Path(name)
        if not (by_uri and self.anywhere):
            path = self._confined(name)
        try:
            # Opening a pipe would block; without blocking, it is opened and rejected.
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            where = "" if by_uri else " below the input's folder"
            raise ValueError(f"{name} cannot be read{where}: {error.strerror}") from error
        try:
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode):
                raise ValueError(f"{name} is not a regular file")
            _check_size(name, status.st_size, most)
            with os.fdopen(file, "rb", closefd=False) as opened:
                return opened.read()
        except OSError as error:
            raise ValueError(f"{name} cannot be read: {error.strerror}") from error
        finally:
            os.close(file)

    def _confined(self, name: str) -> Path:
        """Return the real path of a name, which is below the folder."""
        if not is_local(self.folder):
            raise ValueError(f"{name} is outside of the input's folder {self.folder}")
        root = os.path.realpath(self.folder)
        real = os.path.realpath(Path(root) / name)
        if os.path.commonpath([root, real]) != root:
            raise ValueError(f"{name} leads out of the input's folder {self.folder}")
        return Path(real)

    def _below(self, name: str) -> str:
        """Return the URI of a path that is relative to a remote folder."""
        if self.folder.startswith(("http://", "https://")):
            raise ValueError(f"{name} is a path, and the input is behind HTTP; give a URL")
        path = posixpath.normpath(name)
        if path.startswith(("/", "../")) or path == "..":
            raise ValueError(f"{name} leads out of the input's folder {self.folder}")
        return f"{self.folder}/{path}"

    def _is_below(self, uri: str) -> bool:
        normal = uri.partition("://")
        path = posixpath.normpath(normal[2])
        return f"{normal[0]}://{path}".startswith(f"{self.folder}/")

    def _reader(
        self, uri: str, most: int, environ: Mapping[str, str] = ENVIRON
    ) -> Callable[[], bytes]:
        with _one_line(uri, environ):
            # Here and not where it is used: fsspec makes one for each thread that asks.
            filesystem = open_filesystem(uri, environ)
            path = _path_in(filesystem, revealed(uri, environ))

        def read() -> bytes:
            with _one_line(uri, environ):
                _check_size(masked(uri), filesystem.size(path), most)
                return bytes(filesystem.cat_file(path))

        return read


class LocalFile(NamedTuple):
    """A file that a cell names and that is on the run's machine.

    Attributes:
        media: What reads it.
        name: As in the cell.
    """

    media: MediaFiles
    name: str


class _TooLarge(ValueError):
    """A file is too large to be sent."""


@contextmanager
def _one_line(uri: str, environ: Mapping[str, str]) -> Iterator[None]:
    """Turn what a file system raises into a ValueError of one line."""
    try:
        yield
    except BadRequest as error:
        raise ValueError(str(error).removeprefix("input ")) from error
    except _TooLarge:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        reason = hide_in(reason, uri, environ)
        raise ValueError(f"{masked(uri)} cannot be read: {reason}") from error


def folder_of(dataset: Dataset) -> str:
    """Return an input's folder, which may be the input itself: a local path, or a masked URI."""
    uri = dataset.uri
    if is_local(uri):
        root = Path(uri.removeprefix("file://").removeprefix("local://")).expanduser()
        while not root.exists() and glob.has_magic(str(root)):
            root = root.parent
        return str((root if root.is_dir() else root.parent).absolute())
    protocol, _, rest = uri.partition("://")
    parts = rest.partition("?")[0].rstrip("/").split("/")
    fixed = next((at for at, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    is_file = any(
        (file.shown or file.path).rstrip("/").endswith("/".join(parts[1:]))
        for file in dataset.files
    )
    if fixed == len(parts) and is_file and len(parts) > 1:
        fixed -= 1
    return f"{protocol}://{'/'.join(parts[:fixed])}"


def _path_in(filesystem: Any, uri: str) -> str:
    return str(filesystem._strip_protocol(uri))  # noqa: SLF001 - as fsspec's own core does


def _check_size(name: str, size: int | None, most: int) -> None:
    if size is not None and size > most:
        raise _TooLarge(f"{name} has {size / 1e6:,.1f} MB; a file may have {most / 1e6:,.1f} MB")
