"""Manage endpoints manually, from the command line or a Prefect form."""

import time
from collections.abc import Callable
from typing import Any, Literal

from mayfly.endpoints.cleanup import keep_proof
from mayfly.endpoints.process_liveness import owner_is_alive
from mayfly.models.endpoint import EndpointName, EndpointRef, Phase, Replicas
from mayfly.models.errors import BadRequest, MayflyError
from mayfly.models.lease import Lease
from mayfly.models.teardown import TeardownProof
from mayfly.storage.lease_store import LeaseStore
from mayfly.together.connection import Connection
from mayfly.together.control_plane import ControlPlane
from mayfly.together.retry import with_retries
from mayfly.together.teardown import tear_down

Action = Literal["list", "show", "start", "stop", "scale", "delete"]
EndpointInfo = dict[str, Any]

BUDGET_S = 300.0
"""Time limit for a stop or a deletion, in seconds."""


def bounds(text: str) -> Replicas:
    """Parse `N`, or `MIN-MAX` to autoscale (BadRequest)."""
    low, dash, high = text.partition("-")
    try:
        return Replicas(minimum=int(low), maximum=int(high if dash else low))
    except ValueError as error:
        raise BadRequest(f"replicas {text}: give N, or MIN-MAX with 1 <= MIN") from error


class EndpointAdmin:
    """Operations on the endpoints of one project.

    Args:
        log: Reports each operation.
    """

    def __init__(
        self,
        plane: ControlPlane,
        store: LeaseStore,
        connection: Connection,
        *,
        log: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self._plane, self._store, self._connection, self._log = plane, store, connection, log

    def list_all(self) -> list[EndpointInfo]:
        """Return a description of every endpoint of the project, mayfly's first."""
        refs = with_retries(lambda: self._plane.list_endpoints(""))
        prices = self._prices() if refs else {}
        found = [self._info(ref, prices) for ref in refs]
        # One may have been deleted since it was listed.
        found = [each for each in found if each["phase"] != Phase.GONE]
        return sorted(found, key=lambda each: (not each["ours"], each["name"]))

    def show(self, name: str) -> EndpointInfo:
        """Return a description of one endpoint."""
        return self._info(self.find(name), self._prices())

    def find(self, name: str) -> EndpointRef:
        """Find an endpoint by name, with or without slug, or by id (BadRequest)."""
        ref = with_retries(lambda: self._plane.find(name))
        if ref is None:
            where = f" in project {self._plane.project}" if self._plane.project else ""
            raise BadRequest(
                f"endpoint {name} does not exist{where}; "
                f"`mayfly endpoints list --api {self._plane.api}` shows those that do"
            )
        return ref

    def start(self, name: str, replicas: Replicas) -> EndpointInfo:
        """Start a stopped endpoint; a running endpoint is left unchanged."""
        ref = self.find(name)
        seen = with_retries(lambda: self._plane.observe(ref))
        if seen.phase in (Phase.STOPPING, Phase.FAILED):
            raise BadRequest(
                f"endpoint {ref.name} is {seen.phase} and cannot be started; "
                + ("wait until it has stopped" if seen.phase is Phase.STOPPING else "delete it")
            )
        if seen.phase is Phase.STOPPED:
            with_retries(lambda: self._plane.scale(ref, replicas))
            self._log(f"starting {ref.name} with {replicas} replica(s); it bills from READY on")
        else:
            self._log(f"{ref.name} is already running ({seen.state})")
        return self._info(ref, self._prices())

    def scale(self, name: str, replicas: Replicas) -> EndpointInfo:
        """Set the bounds on an endpoint's replicas."""
        ref = self.find(name)
        with_retries(lambda: self._plane.scale(ref, replicas))
        self._log(f"scaling {ref.name} to {replicas} replica(s)")
        return self._info(ref, self._prices())

    def stop(self, ref: EndpointRef) -> TeardownProof:
        """Stop an endpoint and wait until billing has ended (TeardownFailed)."""
        return self._end(ref, "stop")

    def delete(self, ref: EndpointRef) -> TeardownProof:
        """Stop and delete an endpoint, confirm the deletion (404), and close its lease."""
        proof = self._end(ref, "delete")
        if (lease := self._lease(ref)) is not None:
            keep_proof(lease.output, proof)
            self._store.close(lease)
        return proof

    def objection(self, ref: EndpointRef, action: Action) -> str | None:
        """Return why ending an endpoint needs `--force`, or None.

        A deletion cannot be undone, so it is meant for endpoints that mayfly created. A live run
        would lose its endpoint, and would create another.
        """
        lease = self._lease(ref)
        if lease is not None:
            alive = owner_is_alive(lease.owner)
            if alive or (alive is None and not lease.expired(time.time())):
                return f"a run is using it (process {lease.owner.pid} on {lease.owner.host})"
        if action != "delete":
            return None
        ours = EndpointName.parse(ref.name)
        if ours is None:
            return "mayfly did not create it"
        if ours.namespace != self._connection.namespace:
            return f"it belongs to namespace {ours.namespace}"
        return None

    def _end(self, ref: EndpointRef, policy: Literal["delete", "stop"]) -> TeardownProof:
        return tear_down(
            self._plane,
            ref,
            policy=policy,
            line="endpoints command",
            budget_s=BUDGET_S,
            on_step=self._log,
        )

    def _lease(self, ref: EndpointRef) -> Lease | None:
        here = self._connection.provider, self._plane.project
        found = self._store.find(ref.name)
        if isinstance(found, Lease) and (found.provider, found.project) == here:
            return found
        return None

    def _prices(self) -> dict[str, float]:
        try:
            offers = self._plane.all_hardware()
        except MayflyError:
            # Show the endpoints without prices.
            return {}
        return {offer.hardware: offer.price_usd_per_h for offer in offers}

    def _info(self, ref: EndpointRef, prices: dict[str, float]) -> EndpointInfo:
        seen = with_retries(lambda: self._plane.observe(ref))
        ours = EndpointName.parse(ref.name)
        return {
            "name": ref.name,
            "ours": ours is not None and ours.namespace == self._connection.namespace,
            "phase": str(seen.phase),
            "state": seen.state,
            "message": seen.message,
            "ready_replicas": seen.ready_replicas,
            "desired_replicas": seen.desired_replicas,
            "routed": seen.routed,
            "hardware": ref.hardware,
            "usd_per_h": prices.get(ref.hardware),
            "model_in_requests": ref.inference_name,
            "id": ref.endpoint_id,
            "deployments": list(ref.deployment_ids),
        }


def teardown_info(proof: TeardownProof) -> EndpointInfo:
    """Return the result of a stop or a deletion, for scripts and forms."""
    known = proof.as_dict()
    wanted = ("name", "stop_requested_at", "stopped_at", "gone_at", "not_found_read_back", "steps")
    return {name: known[name] for name in wanted}
