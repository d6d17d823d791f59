"""What runs inside a Dask worker: a check of what it has, and a worker of a run.

The run reaches both by name, so that nothing but names and arguments is sent; neither holds a key.
"""

import hashlib
import os
import pickle
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import version
from multiprocessing import Pipe
from multiprocessing.connection import wait
from pathlib import Path
from typing import NamedTuple

import mayfly
from mayfly.inference.engine import Target
from mayfly.models.errors import MayflyError
from mayfly.storage.dataset import Dataset
from mayfly.storage.input_files import open_filesystem
from mayfly.workers.protocol import Assignment
from mayfly.workers.worker import ShardWorker

SILENCE_S = 5.0
"""A run that is alive is heard of every second; after so long without a word, nothing is sent."""

LINGER_S = 0.05
"""How long an exchange waits for something to return."""

REPLY_BYTES = 4 * 2**20
"""An exchange returns no more than about so much at once."""


class WorkerFacts(NamedTuple):
    """What a Dask worker has.

    Attributes:
        source: SHA-256 (hex) of mayfly's source.
        has_key: Whether it has a key of its own.
        unreadable: Why it cannot read the input, or "".
    """

    python: str
    distributed: str
    source: str
    has_key: bool
    unreadable: str = ""


def facts(dataset: Dataset | None) -> WorkerFacts:
    """Return what this process has, and whether it can read an input."""
    return WorkerFacts(
        python=".".join(map(str, sys.version_info[:2])),
        distributed=version("distributed"),
        source=source_digest(),
        has_key=bool(own_key(os.environ)),
        unreadable="" if dataset is None else _unreadable(dataset),
    )


@lru_cache(maxsize=1)
def source_digest() -> str:
    """Return the SHA-256 (hex) of mayfly's source: its version alone misses a changed checkout."""
    folder = Path(mayfly.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def own_key(env: Mapping[str, str]) -> str:
    """Return the key of this process: TOGETHER_API_KEY, or what TOGETHER_API_KEY_FILE holds."""
    key = env.get("TOGETHER_API_KEY", "").strip()
    if key or not (path := env.get("TOGETHER_API_KEY_FILE", "").strip()):
        return key
    with suppress(OSError, UnicodeDecodeError):
        return Path(path).read_text().strip()
    return ""


def _unreadable(dataset: Dataset) -> str:
    try:
        filesystem = open_filesystem(dataset.uri)
        filesystem.cat_file(dataset.files[0].path, start=0, end=1)
    except Exception as error:  # noqa: BLE001 - every file system has errors of its own
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    return ""


class WorkerActor:
    """A worker of a run, as a Dask actor: the run sends and fetches messages by `exchange`."""

    def __init__(self) -> None:
        self._near, self._far = Pipe()
        self._thread = threading.Thread(target=self._live, name="mayfly worker", daemon=True)
        self._thread.start()

    def exchange(self, packed: bytes) -> bytes | None:
        """Take messages for the worker and return messages of it; None once it has ended.

        Both ways it is one bytes object that holds a pickled list of pickled messages: many small
        objects take Dask's own serialization 500 times as long.
        """
        near = self._near
        frames: list[bytes] = []
        try:
            for frame in pickle.loads(packed):  # noqa: S301 - from our own run
                near.send_bytes(frame)
            size = 0
            if wait([near], LINGER_S):
                while size < REPLY_BYTES and near.poll():
                    frames.append(near.recv_bytes())
                    size += len(frames[-1])
        except (EOFError, OSError):
            return pickle.dumps(frames) if frames else None
        return pickle.dumps(frames)

    def _live(self) -> None:
        far = self._far
        with far, suppress(EOFError, OSError, MayflyError):
            if not far.poll(SILENCE_S):
                return
            assignment: Assignment = far.recv()
            ShardWorker(far, with_own_key(assignment, os.environ), silence_s=SILENCE_S).serve()


def without_key(assignment: Assignment) -> Assignment:
    """Return an assignment without the headers that may hold a secret."""
    target = assignment.target
    return replace(assignment, target=Target(url=target.url, headers={}))


def with_own_key(assignment: Assignment, env: Mapping[str, str]) -> Assignment:
    """Return an assignment with this process's key, unless the run has sent one."""
    target = assignment.target
    if target.headers:
        return assignment
    key = own_key(env)
    return replace(
        assignment, target=Target(url=target.url, headers={"Authorization": f"Bearer {key}"})
    )
