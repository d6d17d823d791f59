"""Read the status of an output folder's runs, from any machine."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mayfly.endpoints.cleanup import read_proofs
from mayfly.models.durations import span
from mayfly.models.errors import BadRequest
from mayfly.models.lease import Lease
from mayfly.models.manifest import Manifest
from mayfly.storage.lease_store import LeaseStore
from mayfly.storage.manifest_store import load_manifest
from mayfly.storage.output_location import is_remote, paths_of
from mayfly.storage.remote_output import refresh_status
from mayfly.storage.run_folder import holder_has_ended, journalled, reconciled
from mayfly.storage.run_paths import RunPaths

SILENT_AFTER_S = 15.0
"""A run writes its heartbeat every two seconds; after this long without one, it is not running."""


def read_status(output: str | Path, store: LeaseStore) -> dict[str, Any]:
    """Return the status of an output: rows, tokens, cost, runs, and open leases.

    Args:
        output: `--output`, which may be on an object store, or a path.
        store: The leases of this machine.

    `now` holds the last heartbeat with its age, or None. A killed run leaves its last heartbeat
    behind; `process_ended` says that its process is known to have ended.

    Raises:
        BadRequest: The folder is not the output of a run.
    """
    if isinstance(output, Path):
        paths = RunPaths(output)
    else:
        paths = refresh_status(output) if is_remote(output) else paths_of(output)
    manifest = load_manifest(paths.manifest)
    if manifest is None:
        raise BadRequest(f"{output} is not the output of a run; give the folder of its --output")
    manifest = reconciled(paths, manifest)
    tally = manifest.tally + journalled(paths, manifest)
    leases, proofs = _open_leases(paths, store), read_proofs(paths)
    at = time.time()
    heartbeat = _heartbeat(paths, at)
    on = heartbeat is not None and _is_on(heartbeat)
    recorded = {run["run"] for run in manifest.runs}
    # A killed run recorded nothing; the proof of its teardown has the cost.
    lost_usd = sum(proof["usd"] or 0.0 for proof in proofs if proof["run"] not in recorded)
    heartbeat_usd = heartbeat["usd"] if heartbeat is not None else 0.0
    usd = sum(run["cost"]["usd"] for run in manifest.runs)
    # A killed run's last heartbeat and its proof of teardown are of the same endpoint.
    usd += lost_usd + heartbeat_usd if on else max(lost_usd, heartbeat_usd)
    return {
        "input": manifest.input["uri"],
        "model": manifest.identity["model"],
        "rows": {
            "total": manifest.rows,
            "done": tally.done,
            "failed": tally.failed,
            "remaining": manifest.rows - tally.done,
        },
        "shards": {"total": len(manifest.shards), "done": len(manifest.done)},
        "tokens": {
            "prompt": tally.prompt_tokens,
            "completion": tally.completion_tokens,
            "cached": tally.cached_tokens,
        },
        "cost": {"usd": round(usd, 4)},
        "now": heartbeat,
        "runs": [dict(run) for run in manifest.runs],
        "outcome": _outcome(manifest, heartbeat, on=on),
        "teardowns_by_others": proofs,
        "open_leases": [
            {
                "name": lease.name,
                "hardware": lease.ref.hardware,
                "usd_per_h": lease.ref.price_usd_per_h,
                "opened_at": lease.opened_at,
                "heartbeat_at": lease.heartbeat_at,
                "heartbeat_s_ago": round(max(0.0, at - lease.heartbeat_at), 1),
                "owner": f"process {lease.owner.pid} on {lease.owner.host}",
            }
            for lease in leases
        ],
    }


def _is_on(heartbeat: Mapping[str, Any]) -> bool:
    silent_after_s = SILENT_AFTER_S + 2 * float(heartbeat.get("every_s", 0.0))
    # A fresh heartbeat proves nothing about a process that has been killed since.
    return not heartbeat.get("process_ended") and heartbeat["heard_s_ago"] <= silent_after_s


def _outcome(manifest: Manifest, heartbeat: Mapping[str, Any] | None, *, on: bool) -> str:
    if on:
        return "running"
    if heartbeat is not None:
        return f"crashed (no heartbeat for {span(heartbeat['heard_s_ago'])})"
    return str(manifest.runs[-1]["outcome"]) if manifest.runs else "not ended yet"


def _heartbeat(paths: RunPaths, at: float) -> dict[str, Any] | None:
    """Return the last heartbeat of a run, with its process and its age."""
    try:
        heartbeat = json.loads(paths.heartbeat.read_text())
        if "by" in heartbeat:  # A run on another machine; taken from the lock that it renews.
            return {key: value for key, value in heartbeat.items() if key != "at"}
        holder = json.loads(paths.lock.read_text())
    except (OSError, ValueError):
        return None
    ago_s = round(max(0.0, at - heartbeat.pop("at")), 1)
    return {
        **heartbeat,
        "heard_s_ago": ago_s,
        "by": f"process {holder['pid']} on {holder['host']}",
        "process_ended": holder_has_ended(paths, holder["host"]),
    }


def _open_leases(paths: RunPaths, store: LeaseStore) -> list[Lease]:
    """Return the leases on this output: its own copies, and those of this machine's store."""
    return list(store.of_output(str(paths.folder.absolute())))
