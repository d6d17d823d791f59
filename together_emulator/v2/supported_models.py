"""The platform's catalogue of models, with their deployment profiles.

Source: Together API, GET /v2/supported-models.
"""

from typing import Any

from together_emulator.http.call import Call
from together_emulator.http.errors import not_found
from together_emulator.http.fields import choice
from together_emulator.http.filters import paged
from together_emulator.state.catalogue import PUBLIC_PROJECT, Model, Profile
from together_emulator.state.store import Store

_MODALITIES = ("MODALITY_TEXT", "MODALITY_IMAGE", "MODALITY_AUDIO", "MODALITY_VIDEO")
_PRODUCTS = ("PRODUCT_SERVERLESS", "PRODUCT_DEDICATED", "PRODUCT_FINE_TUNING", "PRODUCT_RESERVED")
_ADAPTERS = ("ADAPTER_MODE_FIXED", "ADAPTER_MODE_DYNAMIC", "ADAPTER_MODE_DISABLED")


def list_supported_models(store: Store, call: Call) -> Any:
    """GET /v2/supported-models."""
    call.expect(query=("search", "product", "modality", "adapterMode", "limit", "after"))
    product = choice(call.query, "product", _PRODUCTS)
    modality = choice(call.query, "modality", _MODALITIES)
    adapter = choice(call.query, "adapterMode", _ADAPTERS)
    search = call.query.get("search", "").lower()
    found = []
    for model in store.catalogue.supported:
        wire = supported_model(store, model)
        words = (model.id, model.name, model.display_name)
        if (
            (not search or any(search in word.lower() for word in words))
            and (product is None or product in wire["products"])
            and (modality is None or modality in wire["inputModalities"])
            and (
                adapter is None
                or any(p["adapterMode"] == adapter for p in wire["deploymentProfiles"])
            )
        ):
            found.append((model.id, wire))
    return paged(call.query, found)


def get_supported_model(store: Store, call: Call) -> Any:
    """GET /v2/supported-models/{id}."""
    call.expect()
    model = store.catalogue.model_with_id(call.path["id"])
    if model is None or model not in store.catalogue.supported:
        raise not_found("supported model", call.path["id"])
    return supported_model(store, model)


def supported_model(store: Store, model: Model) -> dict[str, Any]:
    """Return a catalogue entry.

    Source: Together API, GET /v2/supported-models.
    """
    chat = model.kind == "chat"
    products = ["PRODUCT_DEDICATED"]
    wire: dict[str, Any] = {
        "id": model.id,
        "name": model.name,
        "displayName": model.display_name,
        "displayType": model.kind,
        "publisher": model.publisher,
        "createdAt": store.wire_time(0.0),
        "updatedAt": store.wire_time(0.0),
        "baseModel": model.resource,
        "baseModelId": model.model_id,
        "capabilities": ["CAPABILITY_CHAT" if chat else "CAPABILITY_EMBEDDING"],
        "inputModalities": [f"MODALITY_{kind.upper()}" for kind in model.inputs],
        "outputModalities": ["MODALITY_TEXT"],
        "products": products,
        "status": "SUPPORTED_MODEL_STATUS_SUPPORTED",
        "deploymentProfiles": [_profile(model, p) for p in model.profiles if p.published],
        "architecture": model.architecture,
        "contextLength": str(model.context_length),
        "tags": list(model.tags),
    }
    if chat:
        wire["features"] = ["FEATURE_TOOL_CALLING", "FEATURE_STRUCTURED_OUTPUT"]
        if model.thinking != "never":
            wire["features"].append("FEATURE_REASONING")
    if model.serverless_usd is not None:
        products.append("PRODUCT_SERVERLESS")
        usd_in, usd_cached, usd_out = model.serverless_usd
        wire["pricing"] = {"input": usd_in, "cachedInput": usd_cached, "output": usd_out}
    return wire


def _profile(model: Model, profile: Profile) -> dict[str, Any]:
    config_id, weights_id = model.config_id(profile), model.weights_id(profile)
    benchmarks: dict[str, Any] = {}
    if profile.decoding_tps is not None:
        benchmarks["decodingSpeedTps"] = profile.decoding_tps
    if profile.ttft_ms is not None:
        benchmarks["timeToFirstTokenMs"] = profile.ttft_ms
    if profile.max_context is not None:
        benchmarks["maxContextLength"] = str(profile.max_context)
    return {
        "profileId": config_id,
        "config": f"projects/{PUBLIC_PROJECT}/configs/{config_id}",
        "certifiedConfigRevisionId": config_id,
        "model": f"{model.resource}/revisions/{weights_id}",
        "certifiedModelRevisionId": weights_id,
        "modelName": model.name,
        # Spelled differently from the instance types on purpose, because the real spelling varies.
        "gpuType": profile.accelerator.split("-")[1].upper(),
        "gpuCount": int(profile.gpu_count),
        "parallelism": profile.parallelism,
        "quantization": profile.quantization,
        "performanceBenchmarks": benchmarks,
        "adapterMode": f"ADAPTER_MODE_{profile.adapter_mode.upper()}",
    }
