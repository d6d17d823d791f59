"""The v2 calls that only read: who am I, projects, models, configs, instance types."""

from typing import Any

from together_emulator.http.call import Call, listing
from together_emulator.http.errors import bad_request, not_found
from together_emulator.http.fields import choice
from together_emulator.http.filters import page, read_limit
from together_emulator.state.catalogue import PUBLIC_PROJECT, Config, InstanceType, Model, Profile
from together_emulator.state.store import Store

_CATALOGUE_TIME_S = 0.0
_MODALITIES = ("MODALITY_TEXT", "MODALITY_IMAGE", "MODALITY_AUDIO", "MODALITY_VIDEO")
_PRODUCTS = ("PRODUCT_SERVERLESS", "PRODUCT_DEDICATED", "PRODUCT_FINE_TUNING", "PRODUCT_RESERVED")
_ADAPTERS = ("ADAPTER_MODE_FIXED", "ADAPTER_MODE_DYNAMIC", "ADAPTER_MODE_DISABLED")


def whoami(store: Store, call: Call) -> Any:
    """GET /v3/whoami."""
    call.expect()
    return {
        "type": "project_api_key",
        "api_key": {"id": store.api_key_id},
        "organization": {"id": store.organization_id, "name": store.organization_name},
        "project": {"id": store.project_id, "name": store.project_name, "slug": store.slug},
    }


def list_projects(store: Store, call: Call) -> Any:
    """GET /v1/projects."""
    call.expect(query=("after", "limit"))
    mine = {
        "id": store.project_id,
        "name": store.project_name,
        "slug": store.slug,
        "organization_id": store.organization_id,
        "organization_name": store.organization_name,
    }
    return _paged(call, [(store.project_id, mine)])


def list_supported_models(store: Store, call: Call) -> Any:
    """GET /v2/supported-models."""
    call.expect(query=("search", "product", "modality", "adapterMode", "limit", "after"))
    product = choice(call.query, "product", _PRODUCTS)
    modality = choice(call.query, "modality", _MODALITIES)
    adapter = choice(call.query, "adapterMode", _ADAPTERS)
    search = call.query.get("search", "").lower()
    found = []
    for model in store.catalogue.models:
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
    return _paged(call, found)


def get_supported_model(store: Store, call: Call) -> Any:
    """GET /v2/supported-models/{id}."""
    call.expect()
    model = store.catalogue.model_with_id(call.path["id"])
    if model is None:
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
        "createdAt": store.wire_time(_CATALOGUE_TIME_S),
        "updatedAt": store.wire_time(_CATALOGUE_TIME_S),
        "baseModel": model.resource,
        "baseModelId": model.model_id,
        "capabilities": ["CAPABILITY_CHAT" if chat else "CAPABILITY_EMBEDDING"],
        "inputModalities": ["MODALITY_TEXT"],
        "outputModalities": ["MODALITY_TEXT"],
        "products": products,
        "status": "SUPPORTED_MODEL_STATUS_SUPPORTED",
        "deploymentProfiles": [_profile(model, profile) for profile in model.profiles],
        "architecture": model.architecture,
        "contextLength": str(model.context_length),
        "tags": list(model.tags),
    }
    if chat:
        wire["features"] = ["FEATURE_TOOL_CALLING", "FEATURE_STRUCTURED_OUTPUT"]
    if model.serverless_usd is not None:
        products.append("PRODUCT_SERVERLESS")
        usd_in, usd_cached, usd_out = model.serverless_usd
        wire["pricing"] = {"input": usd_in, "cachedInput": usd_cached, "output": usd_out}
    return wire


def _profile(model: Model, profile: Profile) -> dict[str, Any]:
    config_id, weights_id = model.config_id(profile), model.weights_id(profile)
    count, accelerator = profile.hardware.split("x", 1)
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
        # Spelled unlike the instance types on purpose: the real one varies, do not join on it.
        "gpuType": accelerator.split("-")[1].upper(),
        "gpuCount": int(count),
        "parallelism": profile.parallelism,
        "quantization": profile.quantization,
        "performanceBenchmarks": benchmarks,
        "adapterMode": "ADAPTER_MODE_DISABLED",
    }


def list_configs(store: Store, call: Call) -> Any:
    """GET /v2/projects/{p}/configs."""
    call.expect(query=("referenceModel", "referenceModelId", "limit", "after"))
    resource = call.query.get("referenceModel")
    model_id = call.query.get("referenceModelId")
    if resource and model_id and resource.rsplit("/", 1)[-1] != model_id:
        raise bad_request("referenceModel and referenceModelId disagree", param="referenceModel")
    found = [
        (config.id, config_json(store, config))
        for config in store.catalogue.configs.values()
        if (resource is None or resource == config.model.resource)
        and (model_id is None or model_id == config.model.model_id)
    ]
    return _paged(call, found)


def get_config(store: Store, call: Call) -> Any:
    """GET /v2/projects/{p}/configs/{cr}."""
    call.expect()
    config = store.catalogue.configs.get(call.path["id"])
    if config is None:
        raise not_found("config", call.path["id"])
    return config_json(store, config)


def config_json(store: Store, config: Config) -> dict[str, Any]:
    """Return a config revision; its selectors give the hardware.

    Source: Together API, GET /v2/projects/{p}/configs.
    """
    count, accelerator = config.profile.hardware.split("x", 1)
    return {
        "id": config.id,
        "projectId": PUBLIC_PROJECT,
        "referenceModel": config.model.resource,
        "referenceModelId": config.model.model_id,
        "selectors": [
            {"key": "accelerator_count", "value": count},
            {"key": "accelerator_type", "value": accelerator},
        ],
        "certifications": [
            {
                "certificationType": "CERTIFICATION_TYPE_CERTIFIED",
                "certifiedAt": store.wire_time(_CATALOGUE_TIME_S),
                "certifiedBy": "together_emulator",
                "model": config.model.resource,
                "modelRevisionId": config.model.weights_id(config.profile),
                "target": "CERTIFICATION_TARGET_MRE",
            }
        ],
    }


def get_model(store: Store, call: Call) -> Any:
    """GET /v2/projects/{p}/models/{ml}."""
    call.expect()
    model = store.catalogue.model_with_id(call.path["id"])
    if model is None:
        raise not_found("model", call.path["id"])
    return {
        "id": model.model_id,
        "name": model.name,
        "organizationId": store.organization_id,
        "projectId": PUBLIC_PROJECT,
        "visibility": "VISIBILITY_INTERNAL",
        "weights": {
            "architecture": model.architecture,
            "contextLength": str(model.context_length),
            "type": "WEIGHTS_TYPE_DEFAULT",
        },
    }


def list_own_models(store: Store, call: Call) -> Any:
    """GET /v2/projects/{p}/models: a project without fine-tunes has none."""
    del store
    call.expect(query=("filter", "orderBy", "limit", "after"))
    return listing([])


def list_instance_types(store: Store, call: Call) -> Any:
    """GET /v2/public/inference-instance-types: all of them, unpaged."""
    call.expect()
    return listing([instance_type(store, kind) for kind in store.catalogue.hardware])


def get_instance_type(store: Store, call: Call) -> Any:
    """GET /v2/public/inference-instance-types/{id}."""
    call.expect()
    for kind in store.catalogue.hardware:
        if kind.id == call.path["id"]:
            return instance_type(store, kind)
    raise not_found("instance type", call.path["id"])


def instance_type(store: Store, kind: InstanceType) -> dict[str, Any]:
    """Return an instance type with its price and headroom."""
    return {
        "id": kind.id,
        "name": kind.name,
        "description": f"{kind.gpu_count} x NVIDIA {kind.gpu_type} {kind.gpu_memory_gib} GB",
        "gpuType": kind.gpu_type,
        "gpuCount": kind.gpu_count,
        "gpuMemoryGib": kind.gpu_memory_gib,
        "priceCentsPerHour": kind.price_cents_per_h,
        "regions": store.capacity.wire_regions(kind),
    }


def _paged(call: Call, items: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    keyed = [((float(index), key), wire) for index, (key, wire) in enumerate(items)]
    data, cursor = page(
        keyed, limit=read_limit(call.query.get("limit")), after=call.query.get("after")
    )
    return listing(data, cursor)
