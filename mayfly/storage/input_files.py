"""Which files an INPUT means: a file, a folder or a glob, local or a URI that fsspec knows."""

import glob
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import fsspec

from mayfly.models.errors import BadRequest
from mayfly.nearby_files import nearest_file


class Located(NamedTuple):
    """The files of an input in the order of their paths.

    Attributes:
        filesystem: An fsspec filesystem, or None for local paths.
    """

    filesystem: Any
    paths: tuple[str, ...]


def locate(uri: str) -> Located:
    """Find the files that an INPUT means, sorted by path, without opening them.

    Below a folder or a glob, names that begin with `_` or `.` are not data, at any level.

    Raises:
        BadRequest: Nothing there, or a protocol that cannot be read here.
    """
    filesystem = open_filesystem(uri)
    if filesystem is None:
        paths = _local_paths(uri.removeprefix("file://").removeprefix("local://"))
    else:
        paths = _remote_paths(filesystem, uri)
    if not paths:
        raise BadRequest(
            f"input {uri} has no data files (names that begin with _ or . do not count); "
            "give a Parquet file, a folder or a glob of them"
        )
    return Located(filesystem, tuple(sorted(paths)))


def open_filesystem(uri: str) -> Any:
    """Return the fsspec filesystem of a URI, or None for a local path."""
    if "::" not in uri and uri.partition("://")[0] in (uri, "file", "local"):
        return None
    try:
        return fsspec.core.url_to_fs(uri)[0]
    except ImportError as error:
        raise BadRequest(f"input {uri} needs a package that is not installed: {error}") from error
    except ValueError as error:
        raise BadRequest(
            f"input {uri} cannot be read: {_one_line(error)}; "
            "give a local path or a URI that fsspec knows, such as s3://"
        ) from error
    except Exception as error:
        raise BadRequest(f"input {uri} cannot be opened: {_one_line(error)}") from error


def name_in(uri: str, path: str) -> str:
    """Return what a file is called within its input: the same name wherever the input lies."""
    root = Path(uri.removeprefix("file://").removeprefix("local://")).expanduser()
    parts, within = root.parts, Path(path).parts
    if not root.exists():
        parts = parts[: _fixed_parts(str(root))]
    if within == parts:
        return within[-1]
    return "/".join(within[len(parts) :] if within[: len(parts)] == parts else within)


def _local_paths(name: str) -> list[str]:
    path = Path(name).expanduser()
    if path.is_dir():
        return list(_files_below(str(path), ancestors=()))
    if path.exists():
        return [_regular(str(path))]
    if not glob.has_magic(name):
        near = nearest_file(path) or "; give a Parquet file, a folder or a glob"
        raise BadRequest(f"input {name} does not exist{near}")
    pattern = str(path)
    # Unlike Path.glob, this takes absolute patterns.
    matches = sorted(set(glob.glob(pattern, recursive=True, include_hidden=True)))  # noqa: PTH207
    depth = _fixed_parts(pattern)
    found: dict[str, None] = {}
    for match in matches:
        if any(_is_hidden(part) for part in Path(match).parts[depth:]):
            continue
        below = _files_below(match, ancestors=()) if Path(match).is_dir() else [_regular(match)]
        found.update(dict.fromkeys(below))
    return list(found)


def _fixed_parts(pattern: str) -> int:
    """Return how many leading parts of a glob are plain names, which count as asked for."""
    parts = Path(pattern).parts
    return next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts))


def _files_below(folder: str, ancestors: tuple[str, ...]) -> Iterator[str]:
    real = os.path.realpath(folder)
    if real in ancestors:  # A link back up would be walked for ever.
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if _is_hidden(entry.name):
                continue
            if entry.is_dir():
                yield from _files_below(entry.path, (*ancestors, real))
            else:
                yield _regular(entry.path)


def _regular(path: str) -> str:
    try:
        mode = Path(path).stat().st_mode
    except OSError as error:
        raise BadRequest(
            f"input {path} cannot be read: {error.strerror}; repair or remove it"
        ) from error
    if not stat.S_ISREG(mode):  # Opening a pipe would wait for ever.
        raise BadRequest(f"input {path} is not a regular file; give a Parquet file")
    return path


def _remote_paths(filesystem: Any, uri: str) -> list[str]:
    try:
        root = str(fsspec.core.url_to_fs(uri)[1])
        if filesystem.isdir(root):
            return _visible(filesystem.find(root), len(_parts(root)))
        if filesystem.exists(root):
            return [root]
        if glob.has_magic(root):
            return _remote_matches(filesystem, root)
    except Exception as error:
        raise BadRequest(f"input {uri} cannot be listed: {_one_line(error)}") from error
    raise BadRequest(f"input {uri} does not exist; give a Parquet file, a folder or a glob")


def _remote_matches(filesystem: Any, pattern: str) -> list[str]:
    fixed = next(i for i, part in enumerate(_parts(pattern)) if glob.has_magic(part))
    found: dict[str, None] = {}
    for path, about in filesystem.glob(pattern, detail=True).items():
        below = filesystem.find(path) if about["type"] == "directory" else [path]
        found.update(dict.fromkeys(_visible(below, fixed)))
    return list(found)


def _visible(paths: list[str], fixed: int) -> list[str]:
    return [path for path in paths if not any(_is_hidden(part) for part in _parts(path)[fixed:])]


def _parts(path: str) -> list[str]:
    return path.strip("/").split("/")


def _is_hidden(name: str) -> bool:
    return name.startswith(("_", "."))


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
