"""The legacy endpoint calls: one object that is endpoint, model, hardware and replicas at once.

Internally it is an endpoint with a single deployment, as in v2: the same life cycle, capacity, bill
and replicas; only the wire format differs.

Source: Together API, v1 /endpoints. The real API now rejects creates and restarts (403).
"""

from collections.abc import Mapping
from typing import Any

from together_emulator.http.call import Call
from together_emulator.http.errors import ApiError, bad_request, not_found
from together_emulator.http.fields import choice, integer, mapping, only, text, wrong
from together_emulator.inference.chat_request import boolean
from together_emulator.state.catalogue import Config, Model
from together_emulator.state.lifecycle import Lifecycle
from together_emulator.state.store import Deployment, Endpoint, Legacy, State, Step, Store
from together_emulator.v1.hardware import cents_per_min, plain_list

_CREATE = (
    "model",
    "hardware",
    "autoscaling",
    "display_name",
    "inactive_timeout",
    "state",
    "disable_speculative_decoding",
    "disable_prompt_cache",
    "availability_zone",
)
_UPDATE = ("display_name", "state", "autoscaling", "inactive_timeout")
_STATES = ("STARTED", "STOPPED")
_MOST_REPLICAS = 512


def v1_state(deployment: Deployment) -> str:  # noqa: PLR0911 - one per state
    """Return a deployment's state in the legacy API."""
    match deployment.state:
        case State.PROVISIONING:
            return "PENDING"
        case State.STOPPING:
            return "STOPPING"
        case State.STOPPED:
            return "STOPPED"
        case State.FAILED:
            return "ERROR"
        case _ if deployment.ready:
            return "STARTED"
        case _ if any(r.step is Step.STARTING or r.replaces for r in deployment.replicas):
            return "STARTING"
        case _:
            return "PENDING"


class LegacyCalls:
    """The handlers of /v1/endpoints."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle

    def create(self, store: Store, call: Call) -> Any:
        """POST /v1/endpoints: every call creates another one, even with the same `display_name`."""
        # The command line of SDK 2.x sends the zone in the query.
        call.expect(query=("availability_zone",), body=_CREATE)
        model, config = _read_model(store, call.body)
        replicas = _read_replicas(call.body)
        zone = _read_zone(store, config, call)
        started = choice(call.body, "state", _STATES) != "STOPPED"
        plain = boolean(call.body, "disable_speculative_decoding")
        timeout_min = _read_timeout_min(call.body)
        display_name = text(call.body, "display_name")
        _require_access(store, "New endpoints cannot be created")

        kind = store.catalogue.instance_type(config.profile.hardware)
        name = (
            f"{model.name.rpartition('/')[2] if model.own else model.name}-{store.ids.etag()[:8]}"
        )
        now = store.now_s
        deployment = Deployment(
            id=store.ids.new("dep"),
            endpoint_id=f"endpoint-{store.ids.uuid()}",
            name="main",
            model=model,
            config=config,
            revision=model.weights_id(config.profile),
            bounds=replicas if started else (0, 0),
            autoscaling={},
            concurrency=max(0, config.profile.concurrency - 1),
            price_cents_per_h=cents_per_min(kind) * 60,
            created_s=now,
            updated_s=now,
            etag=store.ids.etag(),
            speed=1 / store.settings.speculation if plain else 1.0,
            inactive_timeout_min=timeout_min,
            regions=(zone,) if zone else (),
            regions_required=zone is not None,
        )
        legacy = Legacy(
            deployment_id=deployment.id,
            display_name=display_name or model.name,
            replicas=replicas,
        )
        endpoint = Endpoint(
            id=deployment.endpoint_id,
            name=name,
            visibility="VISIBILITY_PRIVATE",
            created_s=now,
            updated_s=now,
            etag=store.ids.etag(),
            legacy=legacy,
        )
        store.endpoints[endpoint.id] = endpoint
        store.deployments[deployment.id] = deployment
        self._lifecycle.begin(deployment)
        return _endpoint_json(store, endpoint, legacy)

    def list(self, store: Store, call: Call) -> Any:
        """GET /v1/endpoints: those of the key, and the serverless ones."""
        call.expect(query=("mine", "type", "usage_type"))
        mine = choice(call.query, "mine", ("true", "false", "True", "False"))
        kind = choice(call.query, "type", ("dedicated", "serverless"))
        usage = choice(call.query, "usage_type", ("on-demand", "reserved"))
        found = []
        if kind != "serverless" and usage != "reserved":
            found = [_summary(store, *own) for own in _own(store)]
        if kind != "dedicated" and usage is None and mine not in ("true", "True"):
            found += _serverless(store)
        return plain_list(found)

    def get(self, store: Store, call: Call) -> Any:
        """GET /v1/endpoints/{id}."""
        call.expect()
        return _endpoint_json(store, *_find(store, call))

    def update(self, store: Store, call: Call) -> Any:
        """PATCH /v1/endpoints/{id}: start, stop, scale, rename; all or nothing."""
        call.expect(body=_UPDATE)
        endpoint, legacy = _find(store, call)
        deployment = store.deployments[legacy.deployment_id]
        if not call.body:
            raise bad_request("no fields to update")
        replicas, timeout_min = legacy.replicas, deployment.inactive_timeout_min
        if "autoscaling" in call.body:
            replicas = _read_replicas(call.body)
        if "inactive_timeout" in call.body:
            timeout_min = _read_timeout_min(call.body)
        display_name = text(call.body, "display_name") or legacy.display_name
        wanted = choice(call.body, "state", _STATES)
        rests = deployment.state in (State.STOPPED, State.STOPPING, State.FAILED)
        if wanted == "STARTED" and rests:
            _require_access(store, "Endpoints that have stopped cannot be started again")
        if wanted == "STOPPED":
            self._lifecycle.stop(deployment)
        elif wanted == "STARTED" or not rests:
            self._lifecycle.set_bounds(deployment, *replicas)
        legacy.replicas, legacy.display_name = replicas, display_name
        deployment.inactive_timeout_min = timeout_min
        deployment.updated_s = endpoint.updated_s = store.now_s
        self._lifecycle.on_replicas(deployment)
        return _endpoint_json(store, endpoint, legacy)

    def delete(self, store: Store, call: Call) -> Any:
        """DELETE /v1/endpoints/{id}: in any state; billing ends."""
        call.expect()
        endpoint, legacy = _find(store, call)
        self._lifecycle.forget(store.deployments[legacy.deployment_id])
        del store.endpoints[endpoint.id]


def _own(store: Store) -> list[tuple[Endpoint, Legacy]]:
    return [(e, e.legacy) for e in store.endpoints_of(legacy=True) if e.legacy is not None]


def _find(store: Store, call: Call) -> tuple[Endpoint, Legacy]:
    endpoint = store.endpoint(call.path["endpoint"], legacy=True)
    assert endpoint.legacy is not None  # noqa: S101 - legacy=True
    return endpoint, endpoint.legacy


def _endpoint_json(store: Store, endpoint: Endpoint, legacy: Legacy) -> dict[str, Any]:
    smallest, largest = legacy.replicas
    kind = store.catalogue.instance_type(store.deployments[legacy.deployment_id].hardware)
    return {
        **_summary(store, endpoint, legacy),
        "display_name": legacy.display_name,
        "hardware": kind.v1_id,
        "autoscaling": {"min_replicas": smallest, "max_replicas": largest},
    }


def _summary(store: Store, endpoint: Endpoint, legacy: Legacy) -> dict[str, Any]:
    deployment = store.deployments[legacy.deployment_id]
    return {
        "object": "endpoint",
        "id": endpoint.id,
        "name": f"{store.slug}/{endpoint.name}",
        "model": deployment.model.name,
        "type": "dedicated",
        "owner": store.slug,
        "state": v1_state(deployment),
        "created_at": store.wire_time(endpoint.created_s),
    }


def _serverless(store: Store) -> list[dict[str, Any]]:
    return [
        {
            "object": "endpoint",
            "id": f"endpoint-{model.id}",
            "name": model.name,
            "model": model.name,
            "type": "serverless",
            "owner": "together",
            "state": "STARTED",
            "created_at": store.wire_time(0.0),
        }
        for model in store.catalogue.models
        if model.serverless_usd is not None
    ]


def _require_access(store: Store, what: str) -> None:
    if not store.settings.v1_create:
        raise ApiError(
            403,
            f"{what} with the v1 API; use dedicated model inference (v2) instead.",
            code="endpoints_v1_create_access_disabled",
            kind="forbidden",
        )


def _read_model(store: Store, body: Mapping[str, Any]) -> tuple[Model, Config]:
    """Return the model and its config; the model may be a fine-tune."""
    name = text(body, "model")
    if name is None:
        raise bad_request("model is required", param="model")
    model = store.catalogue.model_named(name)
    if model is None:
        raise not_found("model", name)
    # The command line of SDK 2.x sends an empty string for none.
    hardware = text(body, "hardware") if body.get("hardware") else None
    if hardware is None:
        raise bad_request("hardware is required; check the hardware API", param="hardware")
    kind = next((k for k in store.catalogue.hardware if k.v1_id == hardware), None)
    if kind is None:
        raise bad_request(
            f"invalid hardware provided: {hardware!r}; check the hardware API", param="hardware"
        )
    for config in store.catalogue.configs_for(model):
        if config.profile.hardware == kind.name:
            return model, config
    raise bad_request(
        f"the selected configuration of {name} on {hardware} is not offered; "
        "check the hardware API",
        param="hardware",
    )


def _read_replicas(body: Mapping[str, Any]) -> tuple[int, int]:
    autoscaling = mapping(body, "autoscaling")
    if autoscaling is None:
        raise bad_request("autoscaling is required", param="autoscaling")
    only(autoscaling, ("min_replicas", "max_replicas"), "autoscaling field")
    smallest = integer(autoscaling, "min_replicas", least=1, most=_MOST_REPLICAS)
    largest = integer(autoscaling, "max_replicas", least=1, most=_MOST_REPLICAS)
    if smallest is None or largest is None:
        raise bad_request("autoscaling needs min_replicas and max_replicas", param="autoscaling")
    if smallest > largest:
        raise bad_request(
            f"min_replicas {smallest} is above max_replicas {largest}", param="autoscaling"
        )
    return smallest, largest


def _read_zone(store: Store, config: Config, call: Call) -> str | None:
    zone = text(call.body, "availability_zone") or text(call.query, "availability_zone")
    if zone is None:
        return None
    if zone not in store.capacity.regions():
        raise wrong(
            "availability_zone", f"one of {', '.join(sorted(store.capacity.regions()))}", zone
        )
    if zone not in store.capacity.regions(config.profile.hardware):
        raise bad_request(
            f"the selected configuration is not offered in {zone}", param="availability_zone"
        )
    return zone


def _read_timeout_min(body: Mapping[str, Any]) -> int:
    """Read `inactive_timeout` in minutes; null, 0 or missing means never."""
    return integer(body, "inactive_timeout") or 0
