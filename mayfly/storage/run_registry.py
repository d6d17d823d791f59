"""The runs of this machine, one small file each: `MAYFLY_HOME/runs/ID.json`.

For `mayfly runs` and `mayfly cancel`; the output's lock, the lease and the manifest are
authoritative.
"""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from mayfly.models.lease import Owner
from mayfly.storage.atomic import make_folder, write_atomically

KEPT = 200
"""Number of newest entries kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEntry:
    """A run that was started on this machine.

    Attributes:
        output: The output folder's absolute path or URI.
        input: As the manifest has it, without credentials.
        started_at: Unix time, seconds.
        owner: The process that runs it.
    """

    id: str
    output: str
    input: str
    model: str
    started_at: float
    owner: Owner

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Self:
        """Return what `as_dict` gave (TypeError or KeyError for anything else)."""
        return cls(**{**fields, "owner": Owner(**fields["owner"])})


def register(home: Path, entry: RunEntry) -> None:
    """Register a run; errors of the disk are ignored, because they must not prevent the run."""
    folder = home / "runs"
    with suppress(OSError):
        make_folder(folder)
        write_atomically(folder / f"{entry.id}.json", json.dumps(asdict(entry)).encode())
        for old in sorted(folder.glob("*.json"), key=_age)[KEPT:]:
            old.unlink(missing_ok=True)


def registered(home: Path) -> list[RunEntry]:
    """Return the runs of this machine, the newest first."""
    found = []
    for path in (home / "runs").glob("*.json"):
        with suppress(OSError, ValueError, TypeError, KeyError):
            found.append(RunEntry.from_dict(json.loads(path.read_bytes())))
    return sorted(found, key=lambda entry: -entry.started_at)


def _age(path: Path) -> float:
    try:
        return -path.stat().st_mtime
    except OSError:
        return 0.0
