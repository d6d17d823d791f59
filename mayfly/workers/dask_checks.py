"""Check that a Dask worker can take part in a run, before anything is created.

Dask may log the arguments of failing functions, and passes them through the scheduler, so
`WorkerNeeds` contains no key.
"""

import socket
import sys
from collections.abc import Mapping
from contextlib import closing, nullcontext, suppress
from functools import lru_cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies

import mayfly
from mayfly.inference.media import PART_BYTES
from mayfly.models.errors import BadRequest, CredentialsRefused, MayflyError
from mayfly.proxies import usable_proxy_for
from mayfly.storage.dataset import Dataset
from mayfly.storage.http_files import HttpFiles
from mayfly.storage.input_files import open_filesystem
from mayfly.storage.media_files import LocalFile
from mayfly.together.connection import Connection
from mayfly.together.retry import with_retries

REACH_S = 10.0
"""Time limit for opening a connection to the API."""

ASK_S = 15.0
"""Time limit for checking a key at the API, retries included."""


class WorkerInfo(NamedTuple):
    """The versions on a worker.

    Attributes:
        source: SHA-256 (hex) of mayfly's source.
    """

    python: str
    distributed: str
    mayfly: str
    source: str


class WorkerNeeds(NamedTuple):
    """What a worker must be able to do.

    Attributes:
        dataset: The input to read; None if the run sends the rows.
        base_url, inference_url: Base URLs of the API; see `Connection`.
        project: Id of the run's project, or "" if its key has none.
        own_key: Whether it uses its own API key.
        file: A file of the run's machine that a cell names, if there are such files.
    """

    dataset: Dataset | None
    base_url: str
    inference_url: str
    project: str
    own_key: bool
    file: LocalFile | None = None


def describe_worker() -> WorkerInfo:
    """Return the versions in this process."""
    return WorkerInfo(
        python=".".join(map(str, sys.version_info[:2])),
        distributed=version("distributed"),
        mayfly=version("mayfly"),
        source=source_digest(),
    )


def difference(run: WorkerInfo, worker: WorkerInfo) -> str:
    """Return how a worker differs from the run, or ""."""
    for what, ours, theirs in (
        ("Python", run.python, worker.python),
        ("distributed", run.distributed, worker.distributed),
        ("mayfly", run.mayfly, worker.mayfly),
    ):
        if ours != theirs:
            return f"has {what} {theirs}, this run has {ours}; install the same there"
    if run.source != worker.source:
        return f"has other files of mayfly {run.mayfly} than this run; install the same there"
    return ""


@lru_cache(maxsize=1)
def source_digest() -> str:
    """Return the SHA-256 (hex) of mayfly's source, which also detects a modified checkout."""
    folder = Path(mayfly.__file__).parent
    digest = sha256()
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder)
        # Folders in a wheel, but links in a checkout; workers use neither.
        if name.parts[0] not in ("flows", "tasks"):
            digest.update(name.as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def problem_with(needs: WorkerNeeds, env: Mapping[str, str]) -> str:
    """Return why a process with this environment cannot work for a run, or ""."""
    if needs.own_key:
        try:
            own = own_connection(env)
        except BadRequest as error:
            return f"has an invalid setting: {error}"
        if own is None:
            return (
                "has no key; set TOGETHER_API_KEY or TOGETHER_API_KEY_FILE there, or use a tls:// "
                "address, over which the run's key is sent"
            )
    if reason := _unreachable(needs.inference_url):
        return f"cannot reach {needs.inference_url} ({reason}); allow connections from there"
    if needs.own_key and own is not None and (reason := _wrong_key(needs, own)):
        return reason
    return _lacking_input(needs)


def own_connection(env: Mapping[str, str]) -> Connection | None:
    """Return the connection of a process's own environment; None if it has no key.

    Raises:
        BadRequest: A variable has an invalid value.
    """
    key = _own_key(env)
    return Connection.from_env({**env, "TOGETHER_API_KEY": key}) if key else None


def _own_key(env: Mapping[str, str]) -> str:
    key = env.get("TOGETHER_API_KEY", "").strip()
    if key or not (path := env.get("TOGETHER_API_KEY_FILE", "").strip()):
        return key
    with suppress(OSError, UnicodeDecodeError):
        return Path(path).read_text().strip()
    return ""


def _unreachable(url: str) -> str:
    try:
        if usable_proxy_for(url, getproxies()) is None:
            parts = urlsplit(url)
            port = parts.port or (443 if parts.scheme == "https" else 80)
            socket.create_connection((parts.hostname or "", port), REACH_S).close()
    except (OSError, BadRequest) as error:
        return _one_line(error)
    return ""


def _wrong_key(needs: WorkerNeeds, own: Connection) -> str:
    from mayfly.together.client import project_of_key  # noqa: PLC0415 - takes half a second

    asked = own.at(needs.base_url, needs.inference_url)
    try:
        project = with_retries(lambda: project_of_key(asked), budget_s=ASK_S)
    except CredentialsRefused as error:
        return f"cannot use its API key: {error} there"
    except MayflyError as error:
        return f"cannot check its key ({error})"
    if needs.project and project and project != needs.project:
        return f"has a key of project {project}; give it one of the run's project {needs.project}"
    return ""


def _lacking_input(needs: WorkerNeeds) -> str:
    if needs.dataset is not None and (reason := _unreadable(needs.dataset)):
        return f"cannot read the input ({reason}); give it access to the input's storage"
    if needs.file is not None and (reason := _unreadable_file(needs.file)):
        return (
            f"cannot read a file that a cell names ({reason}); put such files on an object store, "
            "or share their folder at the same path"
        )
    return ""


def _unreadable(dataset: Dataset) -> str:
    try:
        filesystem = open_filesystem(dataset.uri)
        with closing(filesystem) if isinstance(filesystem, HttpFiles) else nullcontext():
            # Permissions may not cover all files that were listed.
            for file in {dataset.files[0].path, dataset.files[-1].path}:
                filesystem.cat_file(file, start=0, end=1)
    except Exception as error:  # noqa: BLE001 - file systems raise many kinds of errors
        return f"{type(error).__name__}: {_one_line(error)}"
    return ""


def _unreadable_file(file: LocalFile) -> str:
    try:
        file.media.read(file.name, PART_BYTES)
    except ValueError as error:
        return _one_line(error)
    return ""


def _one_line(error: object) -> str:
    return " ".join(str(error).split())
