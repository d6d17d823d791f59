"""Tear down the endpoint of a lease from outside its run: hook, guardian, sweep, next run."""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import orjson

from mayfly.clock import SYSTEM_CLOCK, Clock
from mayfly.endpoints.process_liveness import owner_is_alive
from mayfly.models.errors import BadRequest
from mayfly.models.lease import SETTLE_S, WATCH_S, Lease
from mayfly.models.teardown import Line, TeardownProof
from mayfly.storage.atomic import write_atomically
from mayfly.storage.bounded_work import BoundedWork
from mayfly.storage.lease_store import COPY_S, LeaseStore, state_home
from mayfly.storage.run_paths import RunPaths
from mayfly.together.connection import Connection
from mayfly.together.control_plane import ControlPlane
from mayfly.together.factory import connect
from mayfly.together.teardown import tear_down


def end_lease(
    lease: Lease,
    *,
    line: Line,
    environ: Mapping[str, str],
    budget_s: float,
    on_step: Callable[[str], None] = lambda _text: None,
) -> TeardownProof | None:
    """Tear down the endpoint of a lease, store the proof in the output, and close the lease.

    Returns:
        The proof; None when the endpoint is to be kept.

    Raises:
        BadRequest: The environment names another API than the lease's.
        TeardownFailed: The endpoint may still bill; the lease stays open.
    """
    connection = Connection.from_env(environ)
    if connection.provider != lease.provider:
        raise BadRequest(
            f"lease {lease.name} belongs to {lease.provider}, but TOGETHER_BASE_URL names "
            f"{connection.provider}; set TOGETHER_BASE_URL={lease.base_url}"
        )
    # Use the lease's project: looking up the key's project would be a read before the stop.
    connection = replace(connection, project=lease.project or connection.project)
    with connect(lease.ref.api, connection) as plane:
        return end_on(
            plane,
            lease,
            line=line,
            store=LeaseStore(state_home(environ)),
            budget_s=budget_s,
            on_step=on_step,
        )


def owner_is_dead(
    lease: Lease,
    store: LeaseStore,
    *,
    log: Callable[[str], None] = lambda _text: None,
    sleep: Callable[[float], None] = time.sleep,
    watch_s: float = WATCH_S,
) -> bool:
    """Return whether the owner of a lease is dead; wait for a heartbeat if it cannot be checked.

    The clocks of two machines may differ by any amount, so the age of a heartbeat proves nothing.
    """
    alive = owner_is_alive(lease.owner)
    if alive is not None:
        return not alive
    log(f"waiting {watch_s:.0f} s for a heartbeat of {lease.owner.host} on lease {lease.name}")
    before = store.heartbeat(lease.name)
    sleep(watch_s)
    return store.heartbeat(lease.name) == before


def end_leases_endpoint(
    lease: Lease,
    plane: ControlPlane,
    connection: Connection,
    *,
    line: Line,
    store: LeaseStore,
    budget_s: float,
    on_step: Callable[[str], None],
    clock: Clock = SYSTEM_CLOCK,
) -> TeardownProof | None:
    """Do what `end_on` does, with the API generation of the lease."""
    with ExitStack() as stack:
        if lease.ref.api != plane.api:
            connection = replace(connection, project=lease.project or connection.project)
            plane = stack.enter_context(connect(lease.ref.api, connection))
        return end_on(
            plane,
            lease,
            line=line,
            store=store,
            budget_s=budget_s,
            on_step=on_step,
            clock=clock,
        )


def end_on(
    plane: ControlPlane,
    lease: Lease,
    *,
    line: Line,
    store: LeaseStore,
    budget_s: float,
    on_step: Callable[[str], None] = lambda _text: None,
    clock: Clock = SYSTEM_CLOCK,
) -> TeardownProof | None:
    """Do what `end_lease` does, over an open control plane.

    An endpoint without a known id is searched for `SETTLE_S` from now, however old the last
    heartbeat is: any clock may have been set since, and another machine's differs anyway. So is one
    that is `unseen`.
    """
    if lease.teardown == "keep":
        store.close(lease)
        return None
    policy: Literal["delete", "stop"] = (
        "delete" if lease.teardown == "delete" and lease.ref.created_by_us else "stop"
    )
    proof = tear_down(
        plane,
        lease.ref,
        policy=policy,
        line=line,
        budget_s=budget_s,
        unseen_s=SETTLE_S if lease.unseen else 0.0,
        billing_since=lease.ready_at,
        on_step=on_step,
        now=clock.time,
        clock=clock.monotonic,
        sleep=clock.sleep,
    ).billed_to(lease)
    # The endpoint has ended: a full or hanging disk must not keep its lease open.
    with suppress(OSError):
        BoundedWork(COPY_S).do(lambda: keep_proof(lease.output, proof))
    store.close(lease)
    return proof


def keep_proof(output: str, proof: TeardownProof) -> None:
    """Add the proof to those in the output folder, if it exists; one for each endpoint."""
    paths = RunPaths(Path(output))
    if output and paths.kept.is_dir():
        # Two parties may have ended the same endpoint: keep the first proof.
        proofs = {kept["name"]: kept for kept in [proof.as_dict(), *read_proofs(paths)]}
        data = orjson.dumps([*proofs.values()], option=orjson.OPT_INDENT_2)
        write_atomically(paths.teardown, data)


def read_proofs(paths: RunPaths) -> list[dict[str, Any]]:
    """Return the proofs in an output folder of teardowns that the run did not do itself."""
    try:
        proofs = orjson.loads(paths.teardown.read_bytes())
    except (OSError, ValueError):
        return []
    return proofs if isinstance(proofs, list) else [proofs]
