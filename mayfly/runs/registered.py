"""List the runs of this machine, and cancel one from another terminal."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mayfly.endpoints.process_liveness import owner_is_alive
from mayfly.models.errors import BadRequest, MayflyError, TimedOut
from mayfly.models.texts import printable
from mayfly.runs.status import read_status
from mayfly.storage.lease_store import LeaseStore, state_home
from mayfly.storage.output_location import paths_of, shown_output
from mayfly.storage.run_registry import RunEntry, registered

POLL_S = 0.2
REPORT_EVERY_S = 5.0


def list_runs(environ: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the runs of this machine, newest first, with the status of their folders.

    Each has `run`, `output`, `input`, `model`, `started_at` (Unix time, seconds), `state`
    (`running`, `ended` or `crashed`), `outcome`, `rows` and `usd`; the last three are None when
    the folder no longer exists.
    """
    store = LeaseStore(state_home(environ))
    return list(_listed(registered(state_home(environ)), store))


def _listed(entries: list[RunEntry], store: LeaseStore) -> Iterator[dict[str, Any]]:
    seen: set[str] = set()
    for entry in entries:
        status = _status(entry, store)
        on = owner_is_alive(entry.owner) is True and entry.output not in seen
        # The manifest has the outcome of each run of the folder.
        past = {} if status is None else {run["run"]: run for run in status["runs"]}
        outcome = past.get(entry.id, {}).get("outcome")
        seen.add(entry.output)
        yield {
            "run": entry.id,
            "output": shown_output(entry.output),
            "input": entry.input,
            "model": entry.model,
            "started_at": entry.started_at,
            "state": "ended" if outcome else "running" if on else "crashed",
            "outcome": outcome,
            "rows": None if status is None else status["rows"],
            "usd": None if status is None else status["cost"]["usd"],
        }


def _status(entry: RunEntry, store: LeaseStore) -> dict[str, Any] | None:
    try:
        return read_status(Path(entry.output), store)
    except (MayflyError, OSError):
        return None


def cancel_run(
    output: str,
    environ: Mapping[str, str],
    *,
    log: Callable[[str], None],
    timeout_s: float = 600.0,
    sleep: Callable[[float], None] = time.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """End the run of a folder cleanly, as Ctrl-C in its terminal would, and wait for its end.

    Returns:
        The folder's status afterwards (`mayfly.runs.status.read_status`).

    Raises:
        BadRequest: No run of this machine is active in that folder.
        TimedOut: It has not ended in time; its teardown continues.
    """
    home = state_home(environ)
    folder = str(paths_of(output).folder.absolute())
    entry = next((each for each in registered(home) if each.output == folder), None)
    store = LeaseStore(home)
    if entry is None or owner_is_alive(entry.owner) is not True or _has_ended(entry, store):
        raise BadRequest(
            f"no run is active in {printable(output)} on this machine; `mayfly runs` lists them"
        )
    os.kill(entry.owner.pid, signal.SIGTERM)
    log(f"stopping process {entry.owner.pid}; it tears the endpoint down first")
    began = reported_at = monotonic()
    while owner_is_alive(entry.owner) is True and not _has_ended(entry, store):
        if monotonic() - began > timeout_s:
            raise TimedOut(
                f"process {entry.owner.pid} has not ended within {timeout_s:.0f} s; "
                f"`mayfly status {output}` shows what is still billed"
            )
        if monotonic() - reported_at >= REPORT_EVERY_S:
            reported_at = monotonic()
            log("waiting for the teardown of the endpoint")
        sleep(POLL_S)
    return read_status(Path(folder), store)


def _has_ended(entry: RunEntry, store: LeaseStore) -> bool:
    """Return whether the run has recorded its end; its process, such as a notebook, may live on."""
    status = _status(entry, store)
    return status is not None and any(run["run"] == entry.id for run in status["runs"])
