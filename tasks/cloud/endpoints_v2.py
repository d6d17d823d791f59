"""Together's v2 endpoints: an endpoint routes to a deployment, which holds the replicas.

Source for every rule here: Together API, dedicated model inference (v2), and together 3.1.
"""

from typing import Any

from tasks.cloud.api_errors import Refused, translated
from tasks.cloud.catalogue_v2 import instance_types, offers_v2
from tasks.cloud.connection import Connection
from tasks.core.endpoint import Api, EndpointRef, EndpointSpec, Observation, Phase, Replicas
from tasks.core.errors import CredentialsRefused, HardwareUnavailable, RetryableError, TerminalError
from tasks.core.placement import Offer

TIMEOUT_S = 30.0
_STATE = "DEPLOYMENT_STATE_"
_PHASES = {
    "PROVISIONING": Phase.STARTING,
    "SCALING": Phase.STARTING,
    "READY": Phase.READY,
    "DEGRADED": Phase.DEGRADED,
    "STOPPING": Phase.STOPPING,
    "STOPPED": Phase.STOPPED,
    "FAILED": Phase.FAILED,
}
# Of several deployments the one that bills, or may, decides what the endpoint is.
_LOUDEST = (
    Phase.READY, Phase.UNKNOWN, Phase.DEGRADED, Phase.STARTING,
    Phase.STOPPING, Phase.FAILED, Phase.STOPPED,
)  # fmt: skip


class EndpointsV2:
    """The control plane over v2; see `ControlPlane` for what each method promises."""

    api: Api = "v2"

    def __init__(self, connection: Connection) -> None:
        from together import Together  # noqa: PLC0415 - half a second

        # The SDK repeats POST creates without an idempotency key; our callers repeat by name.
        self._client: Any = Together(
            api_key=connection.api_key,
            base_url=connection.base_url,
            project_id=connection.project or None,
            max_retries=0,
            timeout=TIMEOUT_S,
        )
        self.project = connection.project or self._own_project()

    def offers(self, model: str) -> list[Offer]:
        return offers_v2(self._client, self.project, model)

    def all_hardware(self) -> list[Offer]:
        return instance_types(self._client)

    def create(self, spec: EndpointSpec) -> EndpointRef:
        endpoint = self._endpoint_of(spec.name) or self._create_endpoint(spec)
        deployments = [
            found
            for found in self._deployments(endpoint.id)
            if _phase(found.status.state) is not Phase.FAILED
        ]
        deployment = deployments[0] if deployments else self._create_deployment(endpoint.id, spec)
        self._route(endpoint.id, deployment.id)
        return self._ref(endpoint, [deployment], spec)

    def find(self, name: str) -> EndpointRef | None:
        endpoint = self._endpoint(name) if name.startswith("ep_") else self._endpoint_of(name)
        if endpoint is None:
            return None
        return self._ref(endpoint, self._deployments(endpoint.id), None)

    def observe(self, ref: EndpointRef) -> Observation:
        endpoint = self._look_up(ref)
        if endpoint is None:
            return Observation(phase=Phase.GONE, message="there is no such endpoint")
        deployments = self._deployments(endpoint.id)
        if not deployments:
            return Observation(phase=Phase.STOPPED, message="there is no deployment")
        weights = {entry.deployment_id: entry.weight for entry in endpoint.traffic_split or []}
        loudest = min(deployments, key=lambda found: _LOUDEST.index(_phase(found.status.state)))
        status = loudest.status
        ready = [found.status.ready_replicas for found in deployments]
        concurrency = loudest.max_concurrent_requests_per_replica
        message = status.message or ""
        return Observation(
            phase=_phase(status.state),
            state=status.state,
            message=message,
            ready_replicas=sum(ready) if all(count is not None for count in ready) else None,
            desired_replicas=loudest.desired_replicas,
            routed=weights.get(loudest.id, 0) > 0,
            no_capacity=_phase(status.state) is Phase.DEGRADED and "capacity" in message.lower(),
            concurrency_per_replica=None if concurrency is None else int(concurrency),
        )

    def scale(self, ref: EndpointRef, replicas: Replicas) -> None:
        if (endpoint := self._look_up(ref)) is None:
            raise TerminalError(f"endpoint {ref.name} is not there; nothing can be scaled")
        for deployment in self._deployments(endpoint.id):
            self._bound(endpoint.id, deployment.id, replicas)
            self._route(endpoint.id, deployment.id)

    def stop(self, ref: EndpointRef) -> None:
        if (endpoint := self._look_up(ref)) is None:
            return
        for deployment in self._deployments(endpoint.id):
            if _phase(deployment.status.state) not in (Phase.STOPPED, Phase.FAILED, Phase.STOPPING):
                self._bound(endpoint.id, deployment.id, Replicas(minimum=0, maximum=0))

    def delete(self, ref: EndpointRef) -> None:
        if (endpoint := self._look_up(ref)) is None:
            return
        if endpoint.traffic_split:
            self._split(
                endpoint.id,
                [{"deployment_id": e.deployment_id, "weight": 0} for e in endpoint.traffic_split],
            )
        for deployment in self._deployments(endpoint.id):
            self._gone_is_done(
                "delete deployment",
                self._client.endpoints.deployments.delete,
                deployment.id,
                project_id=self.project,
                endpoint_id=endpoint.id,
            )
        self._gone_is_done(
            "delete endpoint", self._client.endpoints.delete, endpoint.id, project_id=self.project
        )

    def list_endpoints(self, prefix: str) -> list[EndpointRef]:
        with translated("list endpoints"):
            listed = list(self._client.endpoints.list(project_id=self.project, limit=100))
        return [
            self._ref(endpoint, endpoint.deployments or [], None)
            for endpoint in listed
            if _bare(endpoint.name).startswith(prefix)
        ]

    def close(self) -> None:
        self._client.close()

    # One call each.

    def _own_project(self) -> str:
        with translated("ask whose key this is"):
            identity = self._client.whoami()
        project = getattr(getattr(identity, "project", None), "id", None)
        if not project:
            raise CredentialsRefused(
                "the key belongs to no single project; set TOGETHER_PROJECT_ID to the project's id"
            )
        return str(project)

    def _look_up(self, ref: EndpointRef) -> Any | None:
        if ref.endpoint_id:
            return self._endpoint(ref.endpoint_id)
        return self._endpoint_of(ref.name)

    def _endpoint(self, endpoint_id: str) -> Any | None:
        try:
            with translated(f"look at endpoint {endpoint_id}"):
                return self._client.endpoints.retrieve(endpoint_id, project_id=self.project)
        except Refused as refusal:
            if refusal.status == 404:
                return None
            raise

    def _endpoint_of(self, name: str) -> Any | None:
        """Look an endpoint up by its name; the filter is a help, the name decides."""
        bare = _bare(name)
        with translated(f"look up endpoint {bare}"):
            found = list(
                self._client.endpoints.list(project_id=self.project, filter=f'name="{bare}"')
            )
        return next((endpoint for endpoint in found if _bare(endpoint.name) == bare), None)

    def _deployments(self, endpoint_id: str) -> list[Any]:
        try:
            with translated(f"list deployments of {endpoint_id}"):
                # The endpoint's own list holds the newest ten only.
                return list(
                    self._client.endpoints.deployments.list(
                        endpoint_id, project_id=self.project, limit=100
                    )
                )
        except Refused as refusal:
            if refusal.status == 404:
                return []
            raise

    def _create_endpoint(self, spec: EndpointSpec) -> Any:
        try:
            with translated(f"create endpoint {spec.name}"):
                return self._client.endpoints.create(project_id=self.project, name=spec.name)
        except RetryableError as error:
            # A conflict is our own endpoint: the name is ours alone.
            if error.status == 409 and (endpoint := self._endpoint_of(spec.name)) is not None:
                return endpoint
            raise

    def _create_deployment(self, endpoint_id: str, spec: EndpointSpec) -> Any:
        wanted: dict[str, Any] = {
            "project_id": self.project,
            "name": spec.name,
            "autoscaling": {
                "min_replicas": spec.replicas.minimum,
                "max_replicas": spec.replicas.maximum,
            },
            "model": spec.model_ref,
            "config": spec.config_ref,
            "inactive_timeout": spec.inactive_timeout_min,
        }
        if spec.regions:
            wanted["placement"] = {
                "inline": {"regions": list(spec.regions), "constraint": "ENFORCEMENT_REQUIRED"}
            }
        create = self._client.endpoints.deployments.create
        try:
            try:
                with translated(f"create deployment of {spec.name}"):
                    return create(endpoint_id, **wanted)
            except Refused as refusal:
                # The platform had withdrawn the idle timeout for a while: it is our last line of
                # defence, not a reason to have no endpoint.
                if "inactive" not in refusal.words.lower():
                    raise
                wanted.pop("inactive_timeout")
                with translated(f"create deployment of {spec.name}"):
                    return create(endpoint_id, **wanted)
        except Refused as refusal:
            raise HardwareUnavailable(f"{spec.hardware} was refused: {refusal.words}") from refusal

    def _route(self, endpoint_id: str, deployment_id: str) -> None:
        endpoint = self._endpoint(endpoint_id)
        weights = {
            entry.deployment_id: entry.weight
            for entry in (endpoint.traffic_split if endpoint is not None else None) or []
        }
        if not weights.get(deployment_id):
            self._split(endpoint_id, [{"deployment_id": deployment_id, "weight": 1}])

    def _split(self, endpoint_id: str, entries: list[dict[str, Any]]) -> None:
        self._gone_is_done(
            "route requests",
            self._client.endpoints.update,
            endpoint_id,
            project_id=self.project,
            traffic_split=entries,
            update_mask="trafficSplit",
        )

    def _bound(self, endpoint_id: str, deployment_id: str, replicas: Replicas) -> None:
        self._gone_is_done(
            f"set replicas to {replicas}",
            self._client.endpoints.deployments.update,
            deployment_id,
            project_id=self.project,
            endpoint_id=endpoint_id,
            autoscaling={"min_replicas": replicas.minimum, "max_replicas": replicas.maximum},
            update_mask="autoscaling",
        )

    def _gone_is_done(self, call: str, method: Any, *args: Any, **kwargs: Any) -> None:
        try:
            with translated(call):
                method(*args, **kwargs)
        except Refused as refusal:
            if refusal.status != 404:
                raise

    def _ref(self, endpoint: Any, deployments: list[Any], spec: EndpointSpec | None) -> EndpointRef:
        hardware = next((getattr(d, "hardware", None) for d in deployments), None)
        return EndpointRef(
            api="v2",
            name=_bare(endpoint.name),
            endpoint_id=endpoint.id,
            deployment_ids=tuple(deployment.id for deployment in deployments),
            inference_name=endpoint.name,
            hardware=hardware or (spec.hardware if spec else ""),
            price_usd_per_h=spec.price_usd_per_h if spec else 0.0,
            created_by_us=spec is not None,
        )


def _bare(name: str) -> str:
    """Return a name without its project's slug."""
    return name.rsplit("/", 1)[-1]


def _phase(state: str | None) -> Phase:
    return _PHASES.get((state or "").removeprefix(_STATE), Phase.UNKNOWN)
