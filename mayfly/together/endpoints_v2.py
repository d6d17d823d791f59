"""Together's v2 endpoints: an endpoint routes to a deployment, which holds the replicas.

Source for every rule here: Together API, dedicated model inference (v2), and together 3.1.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from mayfly.models.catalogue import ModelEntry
from mayfly.models.endpoint import (
    Api,
    EndpointRef,
    EndpointSpec,
    Observation,
    Phase,
    Replicas,
    TimeToFirstToken,
    Use,
)
from mayfly.models.errors import (
    BadRequest,
    CredentialsRefused,
    HardwareUnavailable,
    MayflyError,
    RetryableError,
    TerminalError,
)
from mayfly.models.offers import Offer
from mayfly.together.client import open_client, own_project
from mayfly.together.connection import Connection
from mayfly.together.errors import Refused, translated
from mayfly.together.hardware_v2 import entries_v2, instance_types, offers_v2
from mayfly.together.models_v2 import DeploymentV2, EndpointV2, bare, read_deployment, read_endpoint
from mayfly.together.parsing import listed, must_be_json
from mayfly.together.server_clock import ServerClock
from mayfly.together.use_v2 import read_time_to_first_token, read_use

# Of several deployments the one that is billed, or may be, determines the endpoint's phase.
_PRECEDENCE = (
    Phase.READY, Phase.UNKNOWN, Phase.DEGRADED, Phase.STARTING,
    Phase.STOPPING, Phase.FAILED, Phase.STOPPED,
)  # fmt: skip


class EndpointsV2:
    """The control plane over v2; see `ControlPlane` for the methods."""

    api: Api = "v2"

    def __init__(self, connection: Connection) -> None:
        self._clock = ServerClock()
        self._client: Any = open_client(connection, self._clock)
        self.inference_url = connection.inference_url
        self._project_was_named = bool(connection.project)
        try:
            self.project = connection.project or own_project(self._client)
        except BaseException:
            self.close()
            raise

    def offers(self, model: str, *, config: str | None = None) -> list[Offer]:
        if self._project_was_named:
            self._check_project()
        return offers_v2(self._client, self.project, model, config=config)

    def models(self, *, mine: bool) -> list[ModelEntry]:
        if mine and self._project_was_named:
            self._check_project()
        return entries_v2(self._client, self.project, mine=mine)

    def all_hardware(self) -> list[Offer]:
        return instance_types(self._client)

    def create(
        self, spec: EndpointSpec, *, on_known: Callable[[EndpointRef], None] = lambda _ref: None
    ) -> EndpointRef:
        endpoint = self._endpoint_of(spec.name) or self._create_endpoint(spec)
        on_known(self._ref(endpoint, [], spec))
        deployment = self._usable(endpoint) or self._create_deployment(endpoint, spec)
        on_known(self._ref(endpoint, [deployment], spec))
        if deployment.phase is Phase.STOPPED and spec.replicas.maximum:
            self._set_bounds(endpoint.id, deployment.id, spec.replicas)
        self._route(endpoint, [deployment])
        return self._ref(endpoint, [deployment], spec)

    def find(self, name: str) -> EndpointRef | None:
        endpoint = self._endpoint(name) if name.startswith("ep_") else self._endpoint_of(name)
        if endpoint is None:
            return None
        return self._ref(endpoint, self._deployments(endpoint), None)

    def observe(self, ref: EndpointRef) -> Observation:
        endpoint = self._look_up(ref)
        if endpoint is None:
            return Observation(phase=Phase.GONE, message="does not exist")
        deployments = self._deployments(endpoint, ref)
        if not deployments:
            return Observation(phase=Phase.STOPPED, message="has no deployment")
        leading = min(deployments, key=lambda found: _PRECEDENCE.index(found.phase))
        ready = [found.ready for found in deployments if found.ready is not None]
        routed = [found for found in deployments if found.id in endpoint.weights]
        return Observation(
            phase=leading.phase,
            state=leading.state,
            message=leading.message,
            ready_replicas=sum(ready) if ready else None,
            desired_replicas=leading.desired,
            routed=any(found.phase is leading.phase for found in routed),
            no_capacity=leading.no_capacity,
            concurrency_per_replica=leading.concurrency,
        )

    def scale(self, ref: EndpointRef, replicas: Replicas) -> None:
        if (endpoint := self._look_up(ref)) is None:
            raise TerminalError(f"endpoint {ref.name} does not exist, so it cannot be scaled")
        usable = [d for d in self._deployments(endpoint, ref) if d.phase is not Phase.FAILED]
        if not usable:
            raise TerminalError(
                f"endpoint {ref.name} has no deployment that can be scaled; delete it and create "
                "another"
            )
        # The routed deployments; the newest if none is routed.
        chosen = [d for d in usable if d.id in endpoint.weights] or usable[:1]
        for deployment in chosen:
            self._set_bounds(endpoint.id, deployment.id, replicas)
        if replicas.maximum:
            self._route(endpoint, chosen)

    def stop_known(self, ref: EndpointRef) -> bool:
        if not ref.endpoint_id:
            return False
        requested, failed = False, None
        for deployment_id in ref.deployment_ids:
            # The API rejects stopping a failed or stopped deployment; the others must be stopped.
            try:
                self._set_bounds(ref.endpoint_id, deployment_id, Replicas(minimum=0, maximum=0))
                requested = True
            except Refused:
                continue
            except MayflyError as error:
                failed = error
        if failed is not None:
            raise failed
        return requested

    def stop(self, ref: EndpointRef) -> None:
        if (endpoint := self._look_up(ref)) is None:
            return
        for deployment in self._deployments(endpoint, ref):
            if deployment.phase not in (Phase.STOPPED, Phase.FAILED, Phase.STOPPING):
                self._set_bounds(endpoint.id, deployment.id, Replicas(minimum=0, maximum=0))

    def delete(self, ref: EndpointRef) -> None:
        if (endpoint := self._look_up(ref)) is None:
            return
        if endpoint.weights:
            # If this is rejected, the deletion below gives the reason.
            with suppress(Refused):
                self._split(endpoint.id, dict.fromkeys(endpoint.weights, 0.0))
        for deployment in self._deployments(endpoint, ref):
            self._ignoring_404(
                "delete deployment",
                self._client.endpoints.deployments.delete,
                deployment.id,
                project_id=self.project,
                endpoint_id=endpoint.id,
            )
        self._ignoring_404(
            "delete endpoint", self._client.endpoints.delete, endpoint.id, project_id=self.project
        )

    def list_endpoints(self, prefix: str) -> list[EndpointRef]:
        return [
            self._ref(endpoint, endpoint.newest, None)
            for endpoint in self._endpoints()
            if endpoint.bare.startswith(prefix)
        ]

    def last_use(self, ref: EndpointRef, *, within_s: float) -> Use:
        return read_use(
            self._client,
            self.project,
            ref.endpoint_id,
            within_s=within_s,
            now=self._clock.now(),
        )

    def time_to_first_token(self, ref: EndpointRef) -> TimeToFirstToken:
        return read_time_to_first_token(self._client, self.project, ref.endpoint_id)

    def now(self) -> float:
        return self._clock.now()

    def close(self) -> None:
        self._client.close()

    # One call each.

    def _check_project(self) -> None:
        try:
            with translated("access the project"):
                self._client.endpoints.list(project_id=self.project, limit=1)
        except (CredentialsRefused, Refused) as refusal:
            raise self._project_error(refusal) from refusal

    def _project_error(self, refusal: CredentialsRefused | Refused) -> BadRequest:
        return BadRequest(
            f"TOGETHER_PROJECT_ID {self.project}: {refusal}; "
            "leave it unset to use the key's own project"
        )

    def _look_up(self, ref: EndpointRef) -> EndpointV2 | None:
        if ref.endpoint_id:
            return self._endpoint(ref.endpoint_id)
        return self._endpoint_of(ref.name)

    def _endpoint(self, endpoint_id: str) -> EndpointV2 | None:
        call = f"get endpoint {endpoint_id}"
        try:
            with translated(call):
                found = self._client.endpoints.retrieve(endpoint_id, project_id=self.project)
        except Refused as refusal:
            if refusal.status == 404:
                return None
            raise
        return read_endpoint(call, found)

    def _endpoints(self, **query: Any) -> list[EndpointV2]:
        call = "list endpoints"
        request = self._client.endpoints.list
        try:
            found = listed(call, lambda: request(project_id=self.project, **query))
        except Refused as refusal:
            if refusal.status == 404 and self._project_was_named:
                raise self._project_error(refusal) from refusal
            raise
        return [read_endpoint(call, entry) for entry in found]

    def _endpoint_of(self, name: str) -> EndpointV2 | None:
        """Return an endpoint by its name, or None; the filter only saves time, the name decides."""
        wanted = bare(name)
        found: list[EndpointV2] = []
        with suppress(Refused):
            found = self._endpoints(filter=f'name="{wanted}"')
        same = next((endpoint for endpoint in found if endpoint.bare == wanted), None)
        # Whether a filter matches the bare name is not documented, and "does not exist" must be
        # right: otherwise a second endpoint is created, or the first one is not deleted.
        return same or next((each for each in self._endpoints() if each.bare == wanted), None)

    def _deployments(
        self, endpoint: EndpointV2, ref: EndpointRef | None = None
    ) -> list[DeploymentV2]:
        """Return an endpoint's deployments, also those that the list does not show yet.

        A list may lag behind a create; the endpoint and `ref` name what it misses.
        """
        call = f"list deployments of {endpoint.id}"
        request = self._client.endpoints.deployments.list
        try:
            # The endpoint itself lists only the newest ten.
            entries = listed(call, lambda: request(endpoint.id, project_id=self.project))
        except Refused as refusal:
            if refusal.status == 404:
                return []
            raise
        found = {each.id: each for each in (read_deployment(call, entry) for entry in entries)}
        named = [*(ref.deployment_ids if ref else ()), *(each.id for each in endpoint.newest)]
        missing = [key for key in dict.fromkeys(named) if key not in found]
        unlisted = [self._deployment(endpoint.id, key) for key in missing]
        return [*(each for each in unlisted if each is not None), *found.values()]

    def _deployment(self, endpoint_id: str, deployment_id: str) -> DeploymentV2 | None:
        call = f"get deployment {deployment_id}"
        request = self._client.endpoints.deployments.retrieve
        try:
            with translated(call):
                found = request(deployment_id, project_id=self.project, endpoint_id=endpoint_id)
        except Refused as refusal:
            if refusal.status == 404:
                return None
            raise
        return read_deployment(call, found)

    def _usable(self, endpoint: EndpointV2) -> DeploymentV2 | None:
        """Return the endpoint's first deployment that has not failed."""
        found = self._deployments(endpoint)
        return next((each for each in found if each.phase is not Phase.FAILED), None)

    def _create_endpoint(self, spec: EndpointSpec) -> EndpointV2:
        call = f"create endpoint {spec.name}"
        try:
            with translated(call):
                made = self._client.endpoints.create(project_id=self.project, name=spec.name)
        except RetryableError as error:
            # A conflict is our own endpoint: nobody else uses the name.
            if error.status == 409 and (endpoint := self._endpoint_of(spec.name)) is not None:
                return endpoint
            raise
        return read_endpoint(call, made)

    def _create_deployment(self, endpoint: EndpointV2, spec: EndpointSpec) -> DeploymentV2:
        call = f"create deployment of {spec.name}"
        wanted = self._wanted(spec, len(self._deployments(endpoint)))
        create = self._client.endpoints.deployments.create
        try:
            try:
                with translated(call):
                    made = create(endpoint.id, **wanted)
            except Refused as refusal:
                # The platform has withdrawn the inactivity timeout at times. It is a fallback, so
                # the endpoint is created without it.
                if "inactive" not in refusal.reason.lower():
                    raise
                wanted.pop("inactive_timeout")
                with translated(call):
                    made = create(endpoint.id, **wanted)
        except RetryableError as error:
            now = self._endpoint(endpoint.id) if error.status == 409 else None
            if now is not None and (ours := self._usable(now)) is not None:
                return ours
            raise
        except Refused as refusal:
            if refusal.status == 404 and self._endpoint(endpoint.id) is None:
                why = "the API does not show the new endpoint yet"
                raise RetryableError(f"{call}: {why}", status=404) from refusal
            raise HardwareUnavailable(f"{spec.hardware} rejected: {refusal.reason}") from refusal
        return read_deployment(call, made)

    def _wanted(self, spec: EndpointSpec, earlier: int) -> dict[str, Any]:
        """Return a deployment's body; its name is unique among `earlier` failed ones."""
        wanted: dict[str, Any] = {
            "project_id": self.project,
            "name": f"{spec.name}-{earlier + 1}" if earlier else spec.name,
            "autoscaling": _autoscaling(spec),
            "model": spec.model_ref,
            "config": spec.config_ref,
            "inactive_timeout": spec.inactive_timeout_min,
        }
        if spec.regions:
            wanted["placement"] = {
                "inline": {"regions": list(spec.regions), "constraint": "ENFORCEMENT_REQUIRED"}
            }
        return wanted

    def _route(self, endpoint: EndpointV2, deployments: list[DeploymentV2]) -> None:
        """Route requests to these deployments as well, if they are not routed yet."""
        missing = [found.id for found in deployments if found.id not in endpoint.weights]
        if missing:
            self._split(endpoint.id, {**endpoint.weights, **dict.fromkeys(missing, 1.0)})

    def _split(self, endpoint_id: str, weights: Mapping[str, float]) -> None:
        self._ignoring_404(
            "route requests",
            self._client.endpoints.update,
            endpoint_id,
            project_id=self.project,
            traffic_split=[{"deployment_id": key, "weight": w} for key, w in weights.items()],
            update_mask="trafficSplit",
        )

    def _set_bounds(self, endpoint_id: str, deployment_id: str, replicas: Replicas) -> None:
        self._ignoring_404(
            f"set replicas to {replicas}",
            self._client.endpoints.deployments.update,
            deployment_id,
            project_id=self.project,
            endpoint_id=endpoint_id,
            autoscaling={"min_replicas": replicas.minimum, "max_replicas": replicas.maximum},
            update_mask="autoscaling",
        )

    def _ignoring_404(self, call: str, method: Callable[..., Any], *args: Any, **kw: Any) -> None:
        try:
            with translated(call):
                done = method(*args, **kw)
        except Refused as refusal:
            if refusal.status != 404:
                raise
        else:
            must_be_json(call, done)

    def _ref(
        self,
        endpoint: EndpointV2,
        deployments: list[DeploymentV2] | tuple[DeploymentV2, ...],
        spec: EndpointSpec | None,
    ) -> EndpointRef:
        hardware = next((found.hardware for found in deployments if found.hardware), "")
        return EndpointRef(
            api="v2",
            name=endpoint.bare,
            endpoint_id=endpoint.id,
            deployment_ids=tuple(found.id for found in deployments),
            inference_name=endpoint.name,
            hardware=hardware or (spec.hardware if spec else ""),
            price_usd_per_h=spec.price_usd_per_h if spec else 0.0,
            created_by_us=spec is not None,
        )


def _autoscaling(spec: EndpointSpec) -> dict[str, Any]:
    """Return the bounds on replicas, and for a range the metric to scale by.

    A batch keeps every replica full, so requests in flight show whether one more would be used.
    At the end of the batch, unused replicas are removed after one minute instead of five.
    """
    bounds: dict[str, Any] = {
        "min_replicas": spec.replicas.minimum,
        "max_replicas": spec.replicas.maximum,
    }
    if spec.replicas.minimum < spec.replicas.maximum and spec.scale_at_in_flight is not None:
        bounds["scaling_metrics"] = [
            {
                "name": "inflight_requests",
                "target": spec.scale_at_in_flight,
                "type": "METRIC_TARGET_TYPE_AVERAGE_VALUE",
            }
        ]
        bounds["scale_up_window"], bounds["scale_down_window"] = "0s", "60s"
    return bounds
