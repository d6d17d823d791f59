"""Past runs on this machine: one JSON line each, appended when a run ends."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from mayfly.storage.atomic import make_folder
from mayfly.storage.lease_store import state_home

HISTORY = "MAYFLY_HISTORY"
"""Variable with the folder of the history, if it is not the folder of the leases."""


def history_file(environ: Mapping[str, str]) -> Path:
    """Return the path of the history file."""
    named = environ.get(HISTORY, "").strip()
    return (Path(named).expanduser() if named else state_home(environ)) / "history.jsonl"


def append_history(environ: Mapping[str, str], record: Mapping[str, Any]) -> None:
    """Add a run's record."""
    path = history_file(environ)
    make_folder(path.parent, mode=0o700)
    # A single write per line, so that two runs that end at once do not mix their lines.
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(file, orjson.dumps(record) + b"\n")
    finally:
        os.close(file)


def read_history(environ: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the records, oldest first; a line truncated by a crash is skipped."""
    path = history_file(environ)
    records = []
    for line in path.read_bytes().splitlines() if path.exists() else []:
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return records
