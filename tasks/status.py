"""What a folder tells about its runs, for whoever looks, on whatever machine."""

import os
from pathlib import Path
from typing import Any

from tasks.core.errors import BadRequest
from tasks.core.lease import Lease
from tasks.ending import read_proofs
from tasks.storage.lease_file import LeaseBook, read_lease, state_home
from tasks.storage.manifest_file import load_manifest
from tasks.storage.run_folder import journalled, reconciled
from tasks.storage.run_paths import RunPaths


def read_status(folder: Path) -> dict[str, Any]:
    """Return what a run has done so far: rows, tokens, cost, runs, and leases still open.

    Raises:
        BadRequest: The folder is not the output of a run.
    """
    paths = RunPaths(folder)
    manifest = load_manifest(paths.manifest)
    if manifest is None:
        raise BadRequest(f"{folder} is not the output of a run; give the folder of its --output")
    manifest = reconciled(paths, manifest)
    tally = manifest.tally + journalled(paths, manifest)
    leases, proofs = _open_leases(paths), read_proofs(paths)
    recorded = {run["run"] for run in manifest.runs}
    # A run that was killed recorded nothing; who ended its endpoint knows what it was billed.
    lost_usd = sum(proof["usd"] or 0.0 for proof in proofs if proof["run"] not in recorded)
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
        "cost": {"usd": round(sum(run["cost"]["usd"] for run in manifest.runs) + lost_usd, 4)},
        "runs": [dict(run) for run in manifest.runs],
        "outcome": manifest.runs[-1]["outcome"] if manifest.runs else "not ended yet",
        "teardowns_by_others": proofs,
        "open_leases": [
            {
                "name": lease.name,
                "hardware": lease.ref.hardware,
                "usd_per_h": lease.ref.price_usd_per_h,
                "opened_at": lease.opened_at,
                "heartbeat_at": lease.heartbeat_at,
                "owner": f"process {lease.owner.pid} on {lease.owner.host}",
            }
            for lease in leases
        ],
    }


def _open_leases(paths: RunPaths) -> list[Lease]:
    """Return the leases on this output: its own copy, and the book's where that is at hand."""
    found: dict[str, Lease] = {}
    if paths.lease.exists():
        lease = read_lease(paths.lease)
        found[lease.name] = lease
    for lease in LeaseBook(state_home(os.environ)).list().open:
        if lease.output == str(paths.folder.absolute()):
            found[lease.name] = lease
    return list(found.values())
