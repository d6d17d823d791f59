"""The legacy adapter call: attach a LoRA adapter to a running endpoint of its base model.

Source: Together API, POST /v1/endpoints/{id}/adapters. Its response is not documented; here it is
the request's body with the endpoint's id.
"""

from typing import Any

from together_emulator.http.call import Call
from together_emulator.http.errors import bad_request, conflict, not_found
from together_emulator.http.fields import text
from together_emulator.state.adapters import Adapter
from together_emulator.state.attachments import attached
from together_emulator.state.store import Store


def attach(store: Store, call: Call) -> Any:
    """POST /v1/endpoints/{id}/adapters `{"model_id": "<endpoint name>:<adapter name>"}`."""
    call.expect(body=("model_id",))
    endpoint = store.endpoint(call.path["endpoint"], legacy=True)
    given = text(call.body, "model_id")
    if given is None:
        raise bad_request("model_id is required", param="model_id")
    name, _, adapter_name = given.partition(":")
    if name != f"{store.slug}/{endpoint.name}" or not adapter_name:
        raise bad_request("model_id is not <endpoint name>:<adapter name>", param="model_id")
    model = store.catalogue.model_named(adapter_name)
    if model is None:
        raise not_found("model", adapter_name)
    deployment = next(store.deployments_of(endpoint.id))
    if model.weights != "ADAPTER" or store.catalogue.base_of(model) is not deployment.model:
        raise bad_request(
            f"{adapter_name} is not an adapter of {deployment.model.name}", param="model_id"
        )
    if any(adapter.model is model for adapter in attached(store, deployment)):
        raise conflict(f"adapter {adapter_name} is already attached", code="already_exists")
    adapter = Adapter(
        id=store.ids.new("dad"),
        model=model,
        revision=model.newest_revision,
        etag=store.ids.etag(),
        changed_s=store.now_s,
    )
    deployment.adapters[adapter.id] = adapter
    return {"object": "adapter", "endpoint_id": endpoint.id, "model_id": given}
