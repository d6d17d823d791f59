"""Route a request to a deployment: names, traffic splits, readiness.

Source: Together API, traffic splits (share = weight x ready replicas; sticky by
`prompt_cache_key`, then `user`, then content).
"""

import zlib

from together_emulator.http.errors import ApiError
from together_emulator.state.attachments import adapter_named
from together_emulator.state.store import Deployment, Endpoint, Legacy, Step, Store


def serving_replicas(deployment: Deployment) -> int:
    """Return the number of replicas that take requests: ready ones, else draining ones."""
    return deployment.ready or sum(r.bills for r in deployment.replicas if r.step is Step.DRAINING)


def traffic_shares(store: Store, endpoint: Endpoint) -> dict[str, float]:
    """Return each deployment's estimated share of the endpoint's requests, 0 to 1."""
    power = _power(store, endpoint.split_in_force(store.now_s))
    total = sum(power.values())
    return {name: value / total for name, value in power.items()} if total else {}


def _power(store: Store, split: dict[str, float]) -> dict[str, float]:
    return {
        deployment_id: weight * store.deployments[deployment_id].ready
        for deployment_id, weight in split.items()
        if deployment_id in store.deployments
    }


def route(store: Store, model: str, sticky: bytes) -> Deployment:
    """Return the deployment that serves a request for `model`.

    Args:
        model: `<slug>/<endpoint>` or `<slug>/<endpoint>/<deployment>`, or the name of an adapter
            that is attached (a guess: the name of an attached adapter is not documented).
        sticky: Requests with the same key use the same deployment while the split is in effect.

    Raises:
        ApiError: 404 unknown; 400 `model_not_available` for a catalogue name; 400
            `endpoint_not_configured` (or 503) if no deployment has traffic; 503 if no replica is
            ready; 400 `dedicated_endpoint_not_running` for a legacy endpoint.
    """
    slug, _, rest = model.partition("/")
    legacy = store.endpoint_named(rest) if slug == store.slug else None
    if legacy is not None and legacy.legacy is not None:
        return _by_name(store, legacy.legacy, model)
    name, _, pinned = rest.partition("/")
    endpoint = store.endpoint_named(name) if slug == store.slug else None
    if endpoint is None:
        adapter = adapter_named(store, model)
        if adapter is not None:
            return adapter[0]
        raise _unknown(store, model)
    if pinned:
        found = next((d for d in store.deployments_of(endpoint.id) if d.name == pinned), None)
        if found is None:
            raise _unknown(store, model)
        if not serving_replicas(found):
            raise _nothing_ready(model)
        return found
    return _by_split(store, endpoint, model, sticky)


def _by_name(store: Store, legacy: Legacy, model: str) -> Deployment:
    found = store.deployments[legacy.deployment_id]
    if not serving_replicas(found):
        raise ApiError(
            400,
            f"The dedicated endpoint {model} is not running. Please start it and wait until its "
            "state is STARTED.",
            code="dedicated_endpoint_not_running",
        )
    return found


def _by_split(store: Store, endpoint: Endpoint, model: str, sticky: bytes) -> Deployment:
    split = endpoint.split_in_force(store.now_s)
    if not split:
        raise _unrouted(store, model)
    power = _power(store, split)
    if not any(power.values()):
        for deployment_id in split:
            draining = store.deployments.get(deployment_id)
            if draining is not None and serving_replicas(draining):
                return draining
        raise _nothing_ready(model)
    point = zlib.crc32(sticky) / 2**32 * sum(power.values())
    for deployment_id, share in power.items():
        point -= share
        if point < 0:
            return store.deployments[deployment_id]
    return store.deployments[max(power, key=lambda deployment_id: power[deployment_id])]


def _unknown(store: Store, model: str) -> ApiError:
    named = store.catalogue.model_named(model)
    if named is not None and not named.own:
        return ApiError(
            400,
            f"Unable to access non-serverless model {model}. Please create and start a new "
            "dedicated endpoint for the model.",
            code="model_not_available",
            param="model",
        )
    return ApiError(
        404,
        f"Unable to access model {model}. Please list your endpoints to see the names that serve.",
        code="model_not_found",
    )


def _unrouted(store: Store, model: str) -> ApiError:
    if store.settings.unrouted == "routing_error":
        return ApiError(
            503, f"no route to {model}", code="routing_error", kind="service_unavailable"
        )
    return ApiError(
        400,
        f"endpoint {model} is not configured to serve requests: no deployment has traffic",
        code="endpoint_not_configured",
    )


def _nothing_ready(model: str) -> ApiError:
    return ApiError(
        503,
        f"no ready replica serves {model}",
        code="service_unavailable",
        kind="service_unavailable",
    )
