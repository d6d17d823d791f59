"""The v2 endpoint calls: create, read, list, update, delete."""

from collections.abc import Mapping
from typing import Any

from together_emulator.http.call import Call, listing
from together_emulator.http.errors import bad_request, conflict, not_found
from together_emulator.http.fields import bare_name, choice, masked, number, only, text, wrong
from together_emulator.http.filters import Filter, ordered, page, read_limit
from together_emulator.state.store import Endpoint, Store
from together_emulator.v2.wire import endpoint_json, endpoint_name

_VISIBILITIES = ("VISIBILITY_PRIVATE", "VISIBILITY_INTERNAL")
_FIELDS = ("name", "trafficSplit", "visibility")


def create_endpoint(store: Store, call: Call) -> Any:
    """POST P/endpoints: 409 if the name is taken."""
    call.expect(body=("name", "visibility"))
    given = text(call.body, "name")
    if given is None:
        raise bad_request("name is required", param="name")
    name = _free_name(store, given)
    endpoint = Endpoint(
        id=store.ids.new("ep"),
        name=name,
        visibility=choice(call.body, "visibility", _VISIBILITIES) or _VISIBILITIES[0],
        created_s=store.now_s,
        updated_s=store.now_s,
        etag=store.ids.etag(),
    )
    store.endpoints[endpoint.id] = endpoint
    store.event(endpoint.id, "endpoint.created", "endpoint created", name=name)
    return endpoint_json(store, endpoint)


def get_endpoint(store: Store, call: Call) -> Any:
    """GET P/endpoints/{ep}."""
    call.expect()
    return endpoint_json(store, store.endpoint(call.path["endpoint"]))


def list_endpoints(store: Store, call: Call) -> Any:
    """GET P/endpoints, newest first by default."""
    return _listed(store, call, store.endpoints_of(legacy=False))


def list_shared(store: Store, call: Call) -> Any:
    """GET /v2/organizations/{o}/endpoints: those visible to all projects of the organization."""
    if call.path["organization"] != store.organization_id:
        raise not_found("organization", call.path["organization"])
    found = store.endpoints_of(legacy=False)
    return _listed(store, call, [e for e in found if e.visibility == "VISIBILITY_INTERNAL"])


def _listed(store: Store, call: Call, found: list[Endpoint]) -> Any:
    call.expect(query=("filter", "orderBy", "limit", "after"))
    if "filter" in call.query:
        matches = Filter(call.query["filter"], ("name", "created_at", "updated_at"))
        found = [
            endpoint
            for endpoint in found
            if matches(
                {
                    "name": (endpoint.name, endpoint_name(store, endpoint)),
                    "created_at": (store.wire_time(endpoint.created_s),),
                    "updated_at": (store.wire_time(endpoint.updated_s),),
                }
            )
        ]
    keyed = ordered(
        found,
        call.query.get("orderBy"),
        lambda e, field: e.created_s if field == "created_at" else e.updated_s,
        lambda e: e.id,
    )
    data, cursor = page(
        keyed, limit=read_limit(call.query.get("limit")), after=call.query.get("after")
    )
    return listing([endpoint_json(store, endpoint) for endpoint in data], cursor)


def update_endpoint(store: Store, call: Call) -> Any:
    """PATCH P/endpoints/{ep}: 409 for a stale etag."""
    call.expect(query=("updateMask",), body=("etag", *_FIELDS))
    endpoint = store.endpoint(call.path["endpoint"])
    check_etag(call.body.get("etag"), endpoint.etag)
    fields = masked(call.query.get("updateMask"), call.body, _FIELDS)
    name, visibility = endpoint.name, endpoint.visibility
    if "name" in fields:
        given = text(call.body, "name")
        if given is None:
            raise bad_request("name cannot be cleared", param="name")
        name = _free_name(store, given, keeps=endpoint)
    if "visibility" in fields:
        visibility = choice(call.body, "visibility", _VISIBILITIES) or _VISIBILITIES[0]
    split = None
    if "trafficSplit" in fields:
        split = _read_split(store, endpoint, call.body.get("trafficSplit"))
    endpoint.name, endpoint.visibility = name, visibility
    if split is not None:
        set_split(store, endpoint, split)
    endpoint.etag, endpoint.updated_s = store.ids.etag(), store.now_s
    store.event(endpoint.id, "endpoint.updated", "endpoint updated", paths=fields)
    return endpoint_json(store, endpoint)


def delete_endpoint(store: Store, call: Call) -> Any:
    """DELETE P/endpoints/{ep}: 400 while it has deployments."""
    call.expect(query=("etag",))
    endpoint = store.endpoint(call.path["endpoint"])
    check_etag(call.query.get("etag"), endpoint.etag)
    left = sum(1 for _ in store.deployments_of(endpoint.id))
    if left:
        raise bad_request(
            f"endpoint has {left} deployment(s); delete them before deleting the endpoint",
            code="endpoint_has_deployments",
        )
    del store.endpoints[endpoint.id]
    store.event(endpoint.id, "endpoint.deleted", "endpoint deleted", name=endpoint.name)
    return {}


def set_split(store: Store, endpoint: Endpoint, split: Mapping[str, float]) -> None:
    """Set the traffic split, which takes effect after the propagation time."""
    endpoint.split = dict(split)
    endpoint.splits.append((store.now_s + store.settings.routing_s, dict(split)))


def check_etag(given: Any, current: str) -> None:
    """Reject (409) a version that is not the newest; without an etag there is no check."""
    if given is None:
        return
    if not isinstance(given, str):
        raise wrong("etag", "a string", given)
    if given != current:
        raise conflict("etag does not match the current version", code="etag_mismatch")


def _free_name(store: Store, given: str, keeps: Endpoint | None = None) -> str:
    name = bare_name(given, store.slug, kind="endpoint")
    taken = store.endpoint_named(name)
    if taken is not None and taken is not keeps:
        raise conflict(f"an endpoint named {name!r} already exists", code="already_exists")
    return name


def _read_split(store: Store, endpoint: Endpoint, given: Any) -> dict[str, float]:
    if given is None:
        return {}
    if not isinstance(given, list):
        raise wrong("trafficSplit", "a list", given)
    known = {deployment.id for deployment in store.deployments_of(endpoint.id)}
    split: dict[str, float] = {}
    seen: set[str] = set()
    for entry in given:
        if not isinstance(entry, dict):
            raise wrong("trafficSplit", "a list of objects", entry)
        only(entry, ("deploymentId", "weight"), "trafficSplit field")
        name = entry.get("deploymentId")
        if name not in known:
            raise bad_request(
                f"trafficSplit names {name!r}, which is no deployment of this endpoint",
                param="trafficSplit",
            )
        if name in seen:
            raise bad_request(f"trafficSplit names {name!r} twice", param="trafficSplit")
        seen.add(name)
        weight = number(entry, "weight", least=0)
        if weight is None:
            raise bad_request("trafficSplit entries need a weight", param="trafficSplit")
        if weight > 0:
            split[name] = weight
    return split
