"""The v2 deployment calls: create, read, list, update, delete."""

from typing import Any

from together_emulator.http.call import Call, listing
from together_emulator.http.errors import bad_request, conflict
from together_emulator.http.fields import bare_name, flag, mapping, masked, text
from together_emulator.http.filters import Filter, ordered, page, read_limit
from together_emulator.state.lifecycle import Lifecycle
from together_emulator.state.store import Deployment, Endpoint, State, Store
from together_emulator.v2.deployment_body import (
    CREATE_FIELDS,
    UPDATE_FIELDS,
    bounds_of,
    changed_autoscaling,
    concurrency_of,
    read_autoscaling,
    read_model_and_config,
    read_placement,
    read_timeout_min,
)
from together_emulator.v2.endpoints import check_etag
from together_emulator.v2.wire import deployment_json, deployment_name, model_resource


class DeploymentCalls:
    """The handlers of deployments, which need the life cycle."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle

    def create(self, store: Store, call: Call) -> Any:
        """POST P/endpoints/{ep}/deployments; `validateOnly=true` creates nothing."""
        call.expect(query=("validateOnly",), body=CREATE_FIELDS)
        endpoint = store.endpoint(call.path["endpoint"])
        dry = flag(call.query, "validateOnly")
        deployment = self._read(store, endpoint, call)
        store.deployments[deployment.id] = deployment
        if dry:
            # Rendered as it would be, then removed before any event can run.
            deployment.state = State.PROVISIONING if deployment.bounds[0] else State.STOPPED
            try:
                return deployment_json(store, deployment)
            finally:
                del store.deployments[deployment.id]
        store.event(
            endpoint.id,
            "deployment.created",
            "deployment created",
            deployment_id=deployment.id,
            name=deployment.name,
        )
        self._lifecycle.begin(deployment)
        return deployment_json(store, deployment)

    def _read(self, store: Store, endpoint: Endpoint, call: Call) -> Deployment:
        given = text(call.body, "name")
        if given is None:
            raise bad_request("name is required", param="name")
        name = _free_name(store, endpoint, given)
        autoscaling = mapping(call.body, "autoscaling")
        if autoscaling is None:
            raise bad_request("autoscaling is required", param="autoscaling")
        model, config, revision = read_model_and_config(store, call.body)
        placement = read_placement(store, config.profile.hardware, call.body)
        return Deployment(
            id=store.ids.new("dep"),
            endpoint_id=endpoint.id,
            name=name,
            model=model,
            config=config,
            revision=revision,
            bounds=bounds_of(autoscaling, None),
            autoscaling=read_autoscaling(autoscaling),
            concurrency=concurrency_of(config.profile, call.body),
            price_cents_per_h=store.catalogue.instance_type(
                config.profile.hardware
            ).price_cents_per_h,
            created_s=store.now_s,
            updated_s=store.now_s,
            etag=store.ids.etag(),
            inactive_timeout_min=read_timeout_min(call.body),
            regions=placement.regions,
            regions_required=placement.required,
            hipaa=placement.hipaa,
            placement=placement.wire,
        )

    def get(self, store: Store, call: Call) -> Any:
        """GET P/endpoints/{ep}/deployments/{dep}."""
        call.expect()
        return deployment_json(
            store, store.deployment(call.path["endpoint"], call.path["deployment"])
        )

    def list(self, store: Store, call: Call) -> Any:
        """GET P/endpoints/{ep}/deployments."""
        call.expect(query=("filter", "orderBy", "limit", "after"))
        found = list(store.deployments_of(store.endpoint(call.path["endpoint"]).id))
        if "filter" in call.query:
            matches = Filter(
                call.query["filter"],
                ("name", "state", "model", "created_at", "updated_at"),
                enums={"state": [state.value for state in State]},
            )
            found = [d for d in found if matches(_row(store, d))]
        keyed = ordered(
            found,
            call.query.get("orderBy"),
            lambda d, field: d.created_s if field == "created_at" else d.updated_s,
            lambda d: d.id,
        )
        data, cursor = page(
            keyed, limit=read_limit(call.query.get("limit")), after=call.query.get("after")
        )
        return listing([deployment_json(store, deployment) for deployment in data], cursor)

    def update(self, store: Store, call: Call) -> Any:
        """PATCH P/endpoints/{ep}/deployments/{dep}; all or nothing."""
        call.expect(query=("updateMask",), body=("etag", *UPDATE_FIELDS))
        deployment = store.deployment(call.path["endpoint"], call.path["deployment"])
        check_etag(call.body.get("etag"), deployment.etag)
        fields = masked(call.query.get("updateMask"), call.body, UPDATE_FIELDS)
        name, timeout_min = deployment.name, deployment.inactive_timeout_min
        concurrency, scaling = deployment.concurrency, deployment.autoscaling
        if "name" in fields:
            given = text(call.body, "name")
            if given is None:
                raise bad_request("name cannot be cleared", param="name")
            endpoint = store.endpoint(deployment.endpoint_id)
            name = _free_name(store, endpoint, given, keeps=deployment)
        if "inactiveTimeout" in fields:
            timeout_min = read_timeout_min(call.body)
        if "maxConcurrentRequestsPerReplica" in fields:
            concurrency = concurrency_of(deployment.config.profile, call.body)
        if "autoscaling" in fields:
            autoscaling = mapping(call.body, "autoscaling") or {}
            scaling = changed_autoscaling(scaling, autoscaling, call.query.get("updateMask"))
            # The last step that may be rejected is the first that changes anything.
            self._lifecycle.set_bounds(deployment, *bounds_of(autoscaling, deployment.bounds))
        deployment.name, deployment.inactive_timeout_min = name, timeout_min
        deployment.concurrency, deployment.autoscaling = concurrency, scaling
        deployment.etag, deployment.updated_s = store.ids.etag(), store.now_s
        store.event(
            deployment.endpoint_id,
            "deployment.updated",
            "deployment updated",
            deployment_id=deployment.id,
            paths=fields,
        )
        self._lifecycle.on_replicas(deployment)
        return deployment_json(store, deployment)

    def delete(self, store: Store, call: Call) -> Any:
        """DELETE P/endpoints/{ep}/deployments/{dep}: only if stopped or failed, without traffic."""
        call.expect(query=("etag",))
        deployment = store.deployment(call.path["endpoint"], call.path["deployment"])
        check_etag(call.query.get("etag"), deployment.etag)
        if deployment.state not in (State.STOPPED, State.FAILED):
            raise bad_request(
                "deployment must be stopped or failed before deletion "
                f"(current state: {deployment.state.value})",
                code="deployment_not_stopped",
            )
        if deployment.id in store.endpoint(deployment.endpoint_id).split:
            raise bad_request(
                "deployment has traffic; set its traffic weight to 0 before deletion",
                code="deployment_has_traffic",
            )
        self._lifecycle.forget(deployment)
        store.event(
            deployment.endpoint_id,
            "deployment.deleted",
            "deployment deleted",
            deployment_id=deployment.id,
            name=deployment.name,
        )
        return {}


def _row(store: Store, deployment: Deployment) -> dict[str, tuple[str, ...]]:
    return {
        "name": (deployment.name, deployment_name(store, deployment)),
        "state": (deployment.state.value,),
        "model": (model_resource(deployment), deployment.model.resource),
        "created_at": (store.wire_time(deployment.created_s),),
        "updated_at": (store.wire_time(deployment.updated_s),),
    }


def _free_name(
    store: Store, endpoint: Endpoint, given: str, keeps: Deployment | None = None
) -> str:
    name = bare_name(given, store.slug, endpoint.name, kind="deployment")
    for other in store.deployments_of(endpoint.id):
        if other.name == name and other is not keeps:
            raise conflict(f"a deployment named {name!r} already exists", code="already_exists")
    return name
