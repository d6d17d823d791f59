"""Find the files of an INPUT: a file, a folder, a glob or a table, local or a URI."""

import fnmatch
import glob
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from mayfly.models.errors import BadRequest
from mayfly.nearby_files import nearest_file
from mayfly.storage.formats import PARQUET, is_media, kind_of
from mayfly.storage.http_files import HttpFiles
from mayfly.storage.remote_blocks import version_of
from mayfly.storage.table_formats import DELTA, Table, marker_of, open_delta, refuse_table
from mayfly.storage.uri_credentials import ENVIRON, MASK, hide_in, masked, revealed

EXTRAS = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gcs",
    "gcs": "gcs",
    "abfs": "azure",
    "abfss": "azure",
    "az": "azure",
    "adl": "azure",
    "hf": "hf",
}
"""The extra of mayfly with the packages for a protocol."""

NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"


class Found(NamedTuple):
    """One file of an input.

    Attributes:
        path: Path in its file system, with credentials masked.
        size: Size in bytes, if a listing has it.
        version: Version from a listing, which changes with the content.
        constants: Columns from its path or a table's log; values are texts, or typed by a log.
        keep: For each row whether the table still has it; None keeps all.
    """

    path: str
    size: int | None = None
    version: str = ""
    constants: tuple[tuple[str, Any], ...] = ()
    keep: Any = None


class Located(NamedTuple):
    """The files of an input in the order of their paths.

    Attributes:
        filesystem: An fsspec filesystem or `HttpFiles`, or None for local paths.
        schema: The schema of a table's log, if there is one.
    """

    filesystem: Any
    files: tuple[Found, ...]
    schema: Any = None

    def close(self) -> None:
        """Close connections that are not shared."""
        if isinstance(self.filesystem, HttpFiles):
            self.filesystem.close()


def locate(uri: str, environ: Mapping[str, str] = ENVIRON) -> Located:
    """Find the files of an INPUT, sorted by path, without opening them.

    Below a folder or a glob, names that begin with `_` or `.` are not data, at any level, nor are
    images, sound and videos by their suffixes, which cells of the data may name. Folders named
    `name=value` are columns. A folder with a Delta log is read by its log.

    Args:
        uri: With credentials masked; the real ones are in `environ`.

    Raises:
        BadRequest: There are no files, the protocol is not supported, or files of a table would be
            read without its log.
    """
    filesystem = open_filesystem(uri, environ)
    schema = None
    if filesystem is None:
        name = _local(uri)
        path = Path(name).expanduser()
        if (path / DELTA).is_dir():
            table = open_delta(uri, str(path))
            files, schema = _table_files(table, str(path)), table.schema
        else:
            files = [Found(path) for path in _local_paths(name)]
    elif isinstance(filesystem, HttpFiles):
        files = [Found(masked(path)) for path in _http_paths(filesystem, uri, environ)]
    else:
        files, schema = _remote_files(filesystem, uri, environ)
    if not files:
        raise BadRequest(
            f"input {uri} has no data files (names that begin with _ or . do not count); "
            "give a file, a folder or a glob"
        )
    if schema is None:
        files = [file._replace(constants=_partitions(name_in(uri, file.path))) for file in files]
    return Located(filesystem, tuple(sorted(files, key=lambda file: file.path)), schema)


def open_filesystem(uri: str, environ: Mapping[str, str] = ENVIRON) -> Any:
    """Return the filesystem of a URI, or None for a local path."""
    if is_local(uri):
        return None
    protocol = uri.partition("://")[0]
    if protocol in ("http", "https"):
        return HttpFiles()
    try:
        return _fsspec().core.url_to_fs(revealed(uri, environ))[0]
    except ImportError as error:
        extra = EXTRAS.get(protocol)
        more = f"pip install 'mayfly[{extra}]'" if extra else _one_line(error)
        raise BadRequest(f"input {uri} needs a package that is not installed: {more}") from error
    except ValueError as error:
        raise BadRequest(
            f"input {uri} cannot be read: {hide_in(_one_line(error), uri, environ)}; "
            "give a local path or a URI that fsspec knows, such as s3://"
        ) from error
    except Exception as error:
        reason = hide_in(_one_line(error), uri, environ)
        raise BadRequest(f"input {uri} cannot be opened: {reason}") from error


def name_in(uri: str, path: str) -> str:
    """Return a file's name within its input, which does not depend on the input's location."""
    if is_local(uri):
        root = Path(_local(uri)).expanduser()
        parts, within = root.parts, Path(path).parts
        if not root.exists():
            parts = parts[: _fixed_parts(str(root))]
    else:
        parts, within = (_remote_parts(name.partition("?")[0]) for name in (uri, path))
        parts = parts[: next((i for i, p in enumerate(parts) if glob.has_magic(p)), len(parts))]
    if within == parts:
        return within[-1]
    return "/".join(within[len(parts) :] if within[: len(parts)] == parts else within)


def is_local(uri: str) -> bool:
    """Whether a URI or path is in the local file system."""
    return "::" not in uri and uri.partition("://")[0] in (uri, "file", "local")


def refuse_output_below(uri: str, output: str) -> None:
    """Reject an output that later runs would read as their input.

    Raises:
        BadRequest: It is in INPUT's folder, or matches its glob.
    """
    if is_local(uri) != is_local(output):
        return
    if is_local(uri):
        folder = Path(_local(output)).expanduser()
        root = Path(_local(uri)).expanduser()
        below = os.path.realpath(folder).split("/")
        pattern = os.path.realpath(root) if root.exists() else os.path.abspath(root)  # noqa: PTH100
        taken = root.is_dir() or not root.exists()
    else:
        below, pattern, taken = list(_remote_parts(output)), "/".join(_remote_parts(uri)), True
    part = [*below, "part-000000.parquet"]
    if taken and any(_takes(pattern.split("/"), part[:depth]) for depth in range(1, len(part) + 1)):
        raise BadRequest(
            f"--output {output} is in INPUT {uri}, so its answers would be read as input; "
            "give a folder outside of it"
        )


def _takes(pattern: list[str], parts: list[str]) -> bool:
    """Whether a glob matches a path; both are given as parts."""
    if not pattern or not parts:
        return not parts and all(part == "**" for part in pattern)
    if pattern[0] == "**":
        return _takes(pattern[1:], parts) or _takes(pattern, parts[1:])
    same = pattern[0] == parts[0] or fnmatch.fnmatchcase(parts[0], pattern[0])
    return same and _takes(pattern[1:], parts[1:])


def _local(uri: str) -> str:
    return uri.removeprefix("file://").removeprefix("local://")


def _remote_parts(uri: str) -> tuple[str, ...]:
    _, mark, rest = uri.partition("://")
    first, *others = (rest if mark else uri).strip("/").split("/")
    # Masked credentials are not part of the path.
    return (first.rpartition(f"{MASK}@")[2], *others)


def _local_paths(name: str) -> list[str]:
    path = Path(name).expanduser()
    if path.is_dir():
        _refuse_above(name, [path])
        return list(_files_below(str(path), ancestors=()))
    if path.exists():
        return [_regular(str(path))]
    if not glob.has_magic(name):
        near = nearest_file(path) or "; give a file, a folder or a glob"
        raise BadRequest(f"input {name} does not exist{near}")
    pattern = str(path)
    # Unlike Path.glob, this accepts absolute patterns.
    matches = sorted(set(glob.glob(pattern, recursive=True, include_hidden=True)))  # noqa: PTH207
    depth = _fixed_parts(pattern)
    found: dict[str, None] = {}
    for match in matches:
        if any(_is_hidden(part) for part in Path(match).parts[depth:]):
            continue
        if is_media(match) and not Path(match).is_dir():
            continue
        below = _files_below(match, ancestors=()) if Path(match).is_dir() else [_regular(match)]
        found.update(dict.fromkeys(below))
    _refuse_above(name, {Path(file).parent for file in found})
    return list(found)


def _refuse_above(name: str, folders: Iterable[Path]) -> None:
    """Reject folders that are inside a table."""
    above = {up for folder in folders for up in (folder.absolute(), *folder.absolute().parents)}
    for folder in above:
        if (folder / DELTA).is_dir() or (folder / ".hoodie").is_dir():
            raise refuse_table(name, "Delta" if (folder / DELTA).is_dir() else "Hudi")


def _fixed_parts(pattern: str) -> int:
    """Return the number of leading parts of a glob without wildcards, which may be hidden names."""
    parts = Path(pattern).parts
    return next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts))


def _files_below(folder: str, ancestors: tuple[str, ...]) -> Iterator[str]:
    real = os.path.realpath(folder)
    if real in ancestors:  # A link to an ancestor would loop for ever.
        return
    with os.scandir(folder) as entries:
        listed = list(entries)
        names = [entry.name for entry in listed]
        if "metadata" in names:
            names += [f"metadata/{path.name}" for path in Path(folder, "metadata").glob("*")]
        if (kind := marker_of(names)) is not None:
            raise refuse_table(folder, kind)
        for entry in listed:
            if _is_hidden(entry.name):
                continue
            if entry.is_dir():
                yield from _files_below(entry.path, (*ancestors, real))
            elif not is_media(entry.name):
                yield _regular(entry.path)


def _regular(path: str) -> str:
    try:
        mode = Path(path).stat().st_mode
    except OSError as error:
        raise BadRequest(
            f"input {path} cannot be read: {error.strerror}; repair or remove it"
        ) from error
    if not stat.S_ISREG(mode):  # Opening a pipe would wait for ever.
        raise BadRequest(f"input {path} is not a regular file; give files")
    return path


def _remote_files(filesystem: Any, uri: str, environ: Mapping[str, str]) -> tuple[list[Found], Any]:
    real = revealed(uri, environ)
    try:
        root = str(_fsspec().core.url_to_fs(real)[1])
        if filesystem.isdir(root):
            listed = filesystem.find(root, detail=True)
            kind = marker_of(path[len(root) :] for path in listed)
            if kind == "Delta" and any(
                p[len(root) :].lstrip("/").startswith(DELTA) for p in listed
            ):
                table = open_delta(uri, real)
                return _table_files(table, root), table.schema
            _refuse_remote(filesystem, uri, root, kind)
            found = {path: listed[path] for path in _visible(list(listed), len(_parts(root)))}
        elif filesystem.exists(root):
            found = {root: filesystem.info(root)}
        elif glob.has_magic(root):
            found = _remote_matches(filesystem, uri, root)
        else:
            found = None
    except BadRequest:
        raise
    except Exception as error:
        reason = hide_in(_one_line(error), uri, environ)
        raise BadRequest(f"input {uri} cannot be listed: {reason}") from error
    if found is None:
        raise BadRequest(f"input {uri} does not exist; give a file, a folder or a glob")
    if uri.startswith("hf://"):
        # A repository also has its card and scripts.
        found = {path: about for path, about in found.items() if _is_data(path)}
    return [
        Found(path, about.get("size"), version_of(about)) for path, about in found.items()
    ], None


def _refuse_remote(filesystem: Any, uri: str, folder: str, kind: str | None) -> None:
    if kind is not None:
        raise refuse_table(uri, kind)
    base = folder.rstrip("/")
    while "=" in base.rsplit("/", 1)[-1]:
        base = base.rpartition("/")[0]
    if filesystem.isdir(f"{base}/{DELTA}"):
        raise refuse_table(uri, "Delta")


def _remote_matches(filesystem: Any, uri: str, pattern: str) -> dict[str, Any]:
    parts = _parts(pattern)
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    lead = pattern[: len(pattern) - len(pattern.lstrip("/"))]
    _refuse_remote(filesystem, uri, lead + "/".join(parts[:fixed]), None)
    found: dict[str, Any] = {}
    for path, about in filesystem.glob(pattern, detail=True).items():
        if about["type"] != "directory":
            below = {path: about}
        else:
            below = filesystem.find(path, detail=True)
            if (kind := marker_of(below)) is not None:
                raise refuse_table(uri, kind)
        found.update({name: below[name] for name in _visible(list(below), fixed)})
    return found


def _http_paths(files: HttpFiles, uri: str, environ: Mapping[str, str]) -> list[str]:
    real = revealed(uri, environ)
    name = real.partition("?")[0].rsplit("/", 1)[-1]
    try:
        if name and "." not in name and not glob.has_magic(name) and files.is_page(real):
            real += "/"
        return files.files(real)
    except Exception as error:
        reason = hide_in(_one_line(error), uri, environ)
        raise BadRequest(f"input {uri} cannot be listed: {reason}") from error


def _table_files(table: Table, root: str) -> list[Found]:
    files = []
    for file in table.files:
        # The log has URL-encoded paths.
        path = file.path if "://" in file.path else f"{root.rstrip('/')}/{unquote(file.path)}"
        files.append(Found(path, constants=file.constants, keep=file.keep))
    return files


def _partitions(name: str) -> tuple[tuple[str, Any], ...]:
    """Return the columns from the folders of a file, such as `year=2024/`."""
    pairs = [part.partition("=") for part in name.split("/")[:-1] if "=" in part]
    return tuple(
        (unquote(key), None if value == NULL_PARTITION else unquote(value))
        for key, _, value in pairs
        if key
    )


def _is_data(path: str) -> bool:
    return kind_of(path).format != PARQUET or path.lower().endswith((".parquet", ".pq"))


def _visible(paths: list[str], fixed: int) -> list[str]:
    return [
        path
        for path in paths
        if not any(_is_hidden(part) for part in _parts(path)[fixed:])
        and not is_media(path.rpartition("/")[2])
    ]


def _parts(path: str) -> list[str]:
    return path.strip("/").split("/")


def _is_hidden(name: str) -> bool:
    return name.startswith(("_", "."))


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _fsspec() -> Any:
    """Return fsspec, which is slow to load and not needed for local inputs."""
    import fsspec  # noqa: PLC0415

    return fsspec
