"""What a folder tells about its runs, for whoever looks, on whatever machine."""

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
from mayfly.storage.run_folder import journalled, reconciled
from mayfly.storage.run_paths import RunPaths

SILENT_AFTER_S = 15.0
"""A run gives its numbers every two seconds; after this long without, it does not count as on."""


def read_status(output: str | Path, store: LeaseStore) -> dict[str, Any]:
    """Return what a run has done so far: rows, tokens, cost, runs, and leases still open.

    Args:
        output: `--output`, which may be on an object store, or a path.
        store: The leases of this machine.

    `now` holds the live numbers of a run that is on, and how long ago it gave them: None when
    there is none. A run that was killed leaves its last ones behind, ever older.

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
    on = heartbeat is not None and heartbeat["heard_s_ago"] <= _silent_after_s(heartbeat)
    recorded = {run["run"] for run in manifest.runs}
    # A run that was killed recorded nothing; who ended its endpoint knows what it was billed.
    lost_usd = sum(proof["usd"] or 0.0 for proof in proofs if proof["run"] not in recorded)
    heartbeat_usd = heartbeat["usd"] if heartbeat is not None else 0.0
    usd = sum(run["cost"]["usd"] for run in manifest.runs)
    # The last numbers of one that was killed are of the same endpoint as its proof of teardown.
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


def _silent_after_s(heartbeat: Mapping[str, Any]) -> float:
    return SILENT_AFTER_S + 2 * float(heartbeat.get("every_s", 0.0))


def _outcome(manifest: Manifest, heartbeat: Mapping[str, Any] | None, *, on: bool) -> str:
    if on:
        return "running"
    if heartbeat is not None:
        return f"killed, as it seems: not heard of for {span(heartbeat['heard_s_ago'])}"
    return str(manifest.runs[-1]["outcome"]) if manifest.runs else "not ended yet"


def _heartbeat(paths: RunPaths, at: float) -> dict[str, Any] | None:
    """Return the live numbers that a run has left last, with who gave them and how long ago."""
    try:
        heartbeat = json.loads(paths.heartbeat.read_text())
        if "by" in heartbeat:  # Of a run elsewhere, from the lock that it renews.
            return {key: value for key, value in heartbeat.items() if key != "at"}
        holder = json.loads(paths.lock.read_text())
    except (OSError, ValueError):
        return None
    ago_s = round(max(0.0, at - heartbeat.pop("at")), 1)
    return {**heartbeat, "heard_s_ago": ago_s, "by": f"process {holder['pid']} on {holder['host']}"}


def _open_leases(paths: RunPaths, store: LeaseStore) -> list[Lease]:
    """Return the leases on this output: its own copy, and the store's where that is at hand."""
    return list(store.of_output(str(paths.folder.absolute())))
