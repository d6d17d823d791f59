"""The v2 adapter calls: attach a LoRA adapter to a deployment of its base model.

Source: Together API, P/endpoints/{ep}/deployments/{dep}/adapters, and together 3.1.1.
"""

from collections import Counter
from typing import Any

from together_emulator.http.call import Call
from together_emulator.http.errors import ApiError, bad_request, conflict, not_found
from together_emulator.http.fields import text
from together_emulator.http.filters import paged
from together_emulator.inference.chat_request import boolean
from together_emulator.state.adapters import Adapter
from together_emulator.state.attachments import attached, can_load, is_loaded
from together_emulator.state.catalogue import Model
from together_emulator.state.store import Deployment, Step, Store
from together_emulator.v2.endpoints import check_etag

_STATE = "ADAPTER_LOAD_STATE_"


def attach(store: Store, call: Call) -> Any:
    """POST adapters: 409 if it is attached already, 400 beyond the config's slots.

    With `force` the oldest one is detached.
    """
    call.expect(body=("adapterModelId", "adapterRevisionId", "force"))
    deployment = _deployment(store, call)
    model = _read_adapter(store, deployment, call)
    present = attached(store, deployment)
    if any(adapter.model is model for adapter in present):
        raise conflict(f"adapter {model.name} is already attached", code="already_exists")
    slots = deployment.config.profile.adapter_slots
    if len(present) >= slots:
        if not boolean(call.body, "force"):
            raise bad_request(
                f"the deployment holds {slots} adapter(s); remove one, or pass force",
                code="adapter_capacity",
            )
        del deployment.adapters[present[0].id]
    adapter = Adapter(
        id=store.ids.new("dad"),
        model=model,
        revision=_read_revision(model, call),
        etag=store.ids.etag(),
        changed_s=store.now_s,
    )
    deployment.adapters[adapter.id] = adapter
    return adapter_json(store, deployment, adapter)


def list_adapters(store: Store, call: Call) -> Any:
    """GET adapters, oldest first, including those that are being removed."""
    call.expect(query=("after", "limit"))
    deployment = _deployment(store, call)
    attached(store, deployment)
    found = deployment.adapters.values()
    return paged(call.query, [(a.id, adapter_json(store, deployment, a)) for a in found])


def get(store: Store, call: Call) -> Any:
    """GET adapters/{dad}."""
    call.expect()
    deployment = _deployment(store, call)
    return adapter_json(store, deployment, _adapter(store, deployment, call))


def update(store: Store, call: Call) -> Any:
    """PATCH adapters/{dad}: set another revision, which every replica loads."""
    call.expect(body=("adapterRevisionId", "etag"))
    deployment = _deployment(store, call)
    adapter = _adapter(store, deployment, call)
    if text(call.body, "adapterRevisionId") is None:
        raise bad_request("adapterRevisionId is required", param="adapterRevisionId")
    _check_etag(call.body.get("etag"), adapter)
    adapter.revision = _read_revision(adapter.model, call)
    adapter.changed_s, adapter.etag = store.now_s, store.ids.etag()
    return adapter_json(store, deployment, adapter)


def remove(store: Store, call: Call) -> Any:
    """DELETE adapters/{dad}?etag: the removal takes some time."""
    call.expect(query=("etag",))
    deployment = _deployment(store, call)
    adapter = _adapter(store, deployment, call)
    _check_etag(call.query.get("etag"), adapter)
    if adapter.removed_s is None:
        adapter.removed_s = store.now_s
    return {}


def adapter_json(store: Store, deployment: Deployment, adapter: Adapter) -> dict[str, Any]:
    """Return an attachment with its load state in each cluster that has replicas."""
    serving_steps = (Step.STARTING, Step.READY)
    pods = [r for r in deployment.replicas if r.step in serving_steps and r.region is not None]
    total = Counter(str(replica.region) for replica in pods)
    ready = Counter(str(r.region) for r in pods if is_loaded(store, adapter, r))
    started = {str(r.region) for r in pods if r.step is Step.READY}
    return {
        "id": adapter.id,
        "adapterModelId": adapter.model.model_id,
        "adapterModel": adapter.model.resource,
        "desiredRevisionId": adapter.revision,
        "desiredRevision": f"{adapter.model.resource}/revisions/{adapter.revision}",
        "etag": adapter.etag,
        "perCluster": [
            {
                "adapterModelId": adapter.model.model_id,
                "clusterId": region,
                "state": _STATE
                + _load_state(adapter, ready[region], count, started=region in started),
                "readyPodCount": ready[region],
                "totalPodCount": count,
                "failedPodCount": 0 if can_load(adapter) else count,
                **({} if can_load(adapter) else {"message": "the revision failed validation"}),
            }
            for region, count in sorted(total.items())
        ],
    }


def _load_state(adapter: Adapter, ready: int, total: int, *, started: bool) -> str:
    if adapter.removed_s is not None:
        return "REMOVING"
    if not can_load(adapter):
        return "FAILED"
    if ready == total:
        return "READY"
    return "LOADING" if started else "PENDING"


def _deployment(store: Store, call: Call) -> Deployment:
    return store.deployment(call.path["endpoint"], call.path["deployment"])


def _adapter(store: Store, deployment: Deployment, call: Call) -> Adapter:
    attached(store, deployment)
    found = deployment.adapters.get(call.path["adapter"])
    if found is None:
        raise not_found("adapter", call.path["adapter"])
    return found


def _read_adapter(store: Store, deployment: Deployment, call: Call) -> Model:
    adapter_id = text(call.body, "adapterModelId")
    if adapter_id is None:
        raise bad_request("adapterModelId is required", param="adapterModelId")
    model = store.catalogue.model_with_id(adapter_id)
    if model is None:
        raise not_found("model", adapter_id)
    if model.weights != "ADAPTER":
        raise bad_request(f"{model.name} is not an adapter", param="adapterModelId")
    if deployment.config.profile.adapter_mode == "disabled":
        raise bad_request(
            "the deployment's config has adapter_mode disabled and cannot serve adapters",
            code="adapters_disabled",
        )
    if store.catalogue.base_of(model) is not deployment.model:
        raise bad_request(
            f"adapter {model.name} was not made for {deployment.model.name}",
            param="adapterModelId",
        )
    return model


def _read_revision(model: Model, call: Call) -> str:
    wanted = text(call.body, "adapterRevisionId")
    if wanted is None:
        return model.newest_revision
    if model.revision_with_id(wanted) is None:
        raise bad_request(f"revision {wanted!r} does not exist", param="adapterRevisionId")
    return wanted


def _check_etag(given: Any, adapter: Adapter) -> None:
    if given is None:
        raise ApiError(400, "etag is required", param="etag", code="invalid_argument")
    check_etag(given, adapter.etag)
