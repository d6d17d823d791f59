"""Open an INPUT: find its files, copy them if necessary, and describe them as one dataset."""

import atexit
import io
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial, reduce
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import orjson
import pyarrow as pa

from mayfly.models.batch_lines import BatchLines
from mayfly.models.errors import BadRequest
from mayfly.storage.copied_input import MIXED, Copy, Source, copied
from mayfly.storage.dataset import Dataset, fingerprint_of, source_name
from mayfly.storage.footer import Footer, read_arrow_footer, read_footer
from mayfly.storage.formats import ARROW, PARQUET, Kind, kind_of
from mayfly.storage.http_files import CONNECTIONS
from mayfly.storage.input_files import Found, Located, locate
from mayfly.storage.packed_files import packed
from mayfly.storage.remote_blocks import BLOCK, BlockFile, BlockStore
from mayfly.storage.unified_types import Mixed, TypesDiffer, merged, unified

AT_ONCE = CONNECTIONS
COPIED_AT_ONCE = 2


class _Opened(NamedTuple):
    """One file of the input, described by its own footer or by those of its copy."""

    footers: tuple[Footer, ...]
    copy: Copy | None = None


def open_dataset(
    uri: str,
    *,
    limit: int | None = None,
    known: Sequence[str] = (),
    beside: Path | None = None,
    log: Callable[[str], object] = lambda _: None,
) -> Dataset:
    """Describe an input: a file, a folder, a glob or a Delta table, local or a URI.

    Files have one format and are ordered by path; names that begin with `_` or `.` are not data,
    and all others must be, so that no rows are skipped silently. Parquet and Arrow IPC files are
    read in place, remote ones by blocks that are cached; JSON lines, CSV, streams and compressed
    files are copied to Parquet once.

    The fingerprint covers content, row counts and the limit, but not paths or times, so a copy of
    an input has the same one. Content means all bytes of a local input of up to 128 MiB and of
    copied files; for a larger input the footers and 64 samples per file; for a remote one the
    footers.

    Args:
        uri: With masked credentials, see `uri_credentials`.
        known: Names of the files of earlier runs, in order: these come first, so that their rows
            keep their positions.
        beside: Folder for copies and blocks; None for a temporary one, removed at process exit.
        log: Receives a line about each slow step.

    Raises:
        BadRequest: The input does not exist, has another format than its name says, is truncated
            or encrypted, has no rows or incompatible types, or a protocol or package is missing;
            the message says what to do.
    """
    with closing(locate(uri)) as located:
        return _describe(located, uri, limit, known, beside, log)


def _describe(
    located: Located,
    uri: str,
    limit: int | None,
    known: Sequence[str],
    beside: Path | None,
    log: Callable[[str], object],
) -> Dataset:
    kind = _one_kind(located)
    folder = Path(beside) if beside is not None else _temporary()
    store = None
    if located.filesystem is not None:
        store = BlockStore(located.filesystem, folder / "blocks", uri)
    started = time.monotonic()
    opened = _open_all(located, store, folder, log)
    footers = [footer for one in opened for footer in one.footers if footer.file.rows]
    if not footers:
        raise BadRequest(f"input {uri} has 0 rows; give an input with rows")
    positions = {name: position for position, name in enumerate(known)}
    # Sorting is stable, so the others stay ordered by path.
    footers.sort(key=lambda f: positions.get(source_name(uri, f.file), len(positions)))
    schema, checked = _common_schema(footers, located.schema, MIXED.get(kind.format))
    files = tuple(footer.file for footer in footers)
    copies = [one.copy for one in opened if one.copy is not None]
    dataset = Dataset(
        uri=uri,
        files=files,
        limit=limit,
        schema=schema,
        fingerprint=fingerprint_of(files, limit),
        beside=str(folder / "blocks"),
        copied=_summary(copies, folder, time.monotonic() - started),
        requests=_requests(uri, copies),
        checked_casts=checked,
    )
    return packed(dataset, folder / "packed")


def _temporary() -> Path:
    folder = tempfile.mkdtemp(prefix="mayfly-")
    atexit.register(partial(shutil.rmtree, folder, ignore_errors=True))
    return Path(folder)


def _one_kind(located: Located) -> Kind:
    first = located.files[0]
    kind = kind_of(first.path)
    for file in located.files[1:]:
        other = kind_of(file.path)
        if other.format != kind.format:
            raise BadRequest(
                f"input {file.path} is {other.format} and {first.path} is {kind.format} by their "
                "names; give files of one kind, such as 'data/*.parquet'"
            )
    return kind


def _open_all(
    located: Located, store: BlockStore | None, folder: Path, log: Callable[[str], object]
) -> list[_Opened]:
    files = located.files
    what = files[0].path if len(files) == 1 else f"{len(files):,} files"
    said: list[str] = []

    def begins() -> None:
        if not said:
            said.append(f"copying {what} to Parquet, which is done once")
            log(said[0])

    open_one = partial(_open_one, store=store, folder=folder, begins=begins)
    if len(files) == 1:
        return [open_one(files[0])]
    copies = _is_copied(files[0])
    local = store is None
    workers = COPIED_AT_ONCE if copies and local else 16 if local else AT_ONCE
    with ThreadPoolExecutor(max_workers=workers) as pool:
        return list(pool.map(open_one, files))


def _is_copied(file: Found) -> bool:
    kind = kind_of(file.path)
    return kind.format not in (PARQUET, ARROW) or kind.compression is not None


def _open_one(
    file: Found, *, store: BlockStore | None, folder: Path, begins: Callable[[], object]
) -> _Opened:
    kind = kind_of(file.path)
    if kind == Kind(ARROW) and store is None:
        footer = read_arrow_footer(file.path)
        if footer is not None:
            return _Opened((_with_constants(footer, file),))
    if kind == Kind(PARQUET) and file.keep is None:
        remote = None
        if store is not None:
            try:
                remote = store.begin(file.path, file.size, file.version)
            except OSError as error:
                raise BadRequest(f"input {file.path} cannot be read: {error}") from error
        return _Opened((_with_constants(read_footer(file.path, store, remote), file),))
    copy = copied(_source(file, kind, store), folder / "copies", begins)
    footers = []
    for part in copy.parts:
        footer = read_footer(str(part))
        described = footer.file._replace(shown=file.path, content=copy.content)
        footers.append(_with_constants(footer._replace(file=described), file))
    return _Opened(tuple(footers), copy)


def _with_constants(footer: Footer, file: Found) -> Footer:
    own = footer.schema.names
    constants = tuple(pair for pair in file.constants if pair[0] not in own)
    return footer._replace(file=footer.file._replace(constants=constants))


def _source(file: Found, kind: Kind, store: BlockStore | None) -> Source:
    if store is None:
        about = Path(file.path).stat()
        stamp = f"{about.st_size} {about.st_mtime_ns} {about.st_ino}"
        return Source(file.path, kind, stamp, partial(_open_local, file.path), file.keep)
    remote = store.begin(file.path, file.size, file.version)
    stamp = f"{remote.size} {remote.version}"

    @contextmanager
    def opened() -> Iterator[BinaryIO]:
        with BlockFile(store, remote, keep=remote.size <= BLOCK) as blocks:
            yield cast("BinaryIO", io.BufferedReader(blocks, 2**20))

    return Source(file.path, kind, stamp, opened, file.keep)


@contextmanager
def _open_local(path: str) -> Iterator[BinaryIO]:
    try:
        opened = Path(path).open("rb")  # noqa: SIM115 - only errors of opening are translated
    except OSError as error:
        raise BadRequest(f"input {path} cannot be read: {error.strerror}; repair it") from error
    with opened:
        yield opened


def _common_schema(
    footers: Sequence[Footer], table: pa.Schema | None, mixed: Mixed
) -> tuple[pa.Schema, tuple[str, ...]]:
    """Return the schema for all files, and the columns with values that have to be checked."""
    first = footers[0].file.name
    schema = footers[0].schema
    if not schema.names and not footers[0].file.constants:
        raise BadRequest(f"input {first} has no columns; give an input with columns")
    seen = {id(schema)}
    for footer in footers:
        names = footer.schema.names
        if repeated := [name for name in names if names.count(name) > 1]:
            name = footer.file.name
            raise BadRequest(f"input {name} has column {repeated[0]!r} twice; rename one of them")
    for footer in footers[1:]:
        if id(footer.schema) in seen or footer.schema.equals(schema, check_metadata=True):
            continue
        schema = _merged(schema, footer, footers, mixed)
    schema = _with_partitions(schema, footers)
    if table is not None:
        schema = _as_table(schema, table)
    checked = dict.fromkeys(
        field.name
        for footer in footers
        for field in footer.schema
        if pa.types.is_floating(schema.field(field.name).type) and pa.types.is_integer(field.type)
    )
    return _readable_by_pandas(schema), tuple(checked)


def _merged(
    schema: pa.Schema, footer: Footer, footers: Sequence[Footer], mixed: Mixed
) -> pa.Schema:
    try:
        return merged(schema, footer.schema, mixed)
    except TypesDiffer:
        for field in footer.schema:
            if field.name not in schema.names:
                continue
            try:
                unified(schema.field(field.name), field, mixed)
            except TypesDiffer:
                before = next(
                    other
                    for other in footers
                    if field.name in other.schema.names
                    and not other.schema.field(field.name).type.equals(field.type)
                )
                raise BadRequest(
                    f"input files differ: column {field.name!r} is "
                    f"{before.schema.field(field.name).type} in {before.file.name} and "
                    f"{field.type} in {footer.file.name}; give files with one schema"
                ) from None
        raise


def _with_partitions(schema: pa.Schema, footers: Sequence[Footer]) -> pa.Schema:
    """Add the columns from paths; integers if every value is one."""
    names = dict.fromkeys(name for footer in footers for name, _ in footer.file.constants)
    for name in names:
        if name in schema.names:
            continue
        values = [dict(footer.file.constants).get(name) for footer in footers]
        given = [value for value in values if value is not None]
        if all(isinstance(value, str) for value in given):
            kind = pa.int64() if given and all(map(_is_integer, given)) else pa.string()
        else:
            kind = pa.array(given).type
        schema = schema.append(pa.field(name, kind))
    return schema


def _is_integer(text: str) -> bool:
    digits = text.removeprefix("-")
    short = digits.isascii() and digits.isdigit() and len(digits) <= 18
    return short and str(int(text)) == text


def _as_table(schema: pa.Schema, table: pa.Schema) -> pa.Schema:
    """Return a schema with the columns of a table's log, with its order and types."""
    fields = []
    for field in table:
        if field.name in schema.names and field.name:
            own = schema.field(field.name)
            try:
                field = unified(own, field)  # noqa: PLW2901 - the narrower of two names for it
            except TypesDiffer:
                field = own  # noqa: PLW2901
        fields.append(field.with_nullable(nullable=True).remove_metadata())
    return pa.schema(fields)


def _readable_by_pandas(schema: pa.Schema) -> pa.Schema:
    """Drop the pandas metadata of a frame with multi-level columns.

    With it, pandas expects tuples as column names, and fails on those that the output adds.
    """
    metadata = dict(schema.metadata or {})
    try:
        about = orjson.loads(metadata.get(b"pandas", b"{}"))
        levels = len(about.get("column_indexes") or [])
    except (orjson.JSONDecodeError, AttributeError):
        levels = 2
    if levels > 1:
        del metadata[b"pandas"]
    return schema.with_metadata(metadata or None)


def _requests(uri: str, copies: Sequence[Copy]) -> BatchLines | None:
    found = [copy.requests for copy in copies if copy.requests is not None]
    if not found:
        return None
    if len(found) < sum(1 for copy in copies if copy.rows):
        raise BadRequest(
            f"input {uri} has files of OpenAI-batch requests and others; give files of one kind"
        )
    return reduce(BatchLines.plus, found)


def _summary(copies: Sequence[Copy], folder: Path, seconds: float) -> str:
    if not copies:
        return ""
    rows = sum(copy.rows for copy in copies)
    files = f"{len(copies):,} file{'' if len(copies) == 1 else 's'}"
    if not any(copy.fresh for copy in copies):
        return f"{files}, {rows:,} rows to Parquet before, in {folder / 'copies'}"
    size = sum(copy.bytes for copy in copies) / 1e6
    return f"{files}, {rows:,} rows, {size:,.1f} MB to Parquet in {seconds:.1f} s"
