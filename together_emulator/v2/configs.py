"""Configs: how a model runs, on which hardware.

Source: Together API, GET /v2/projects/{p}/configs.
"""

from typing import Any

from together_emulator.http.call import Call
from together_emulator.http.errors import bad_request, not_found
from together_emulator.http.filters import paged
from together_emulator.state.catalogue import PUBLIC_PROJECT, Config
from together_emulator.state.store import Store


def list_configs(store: Store, call: Call) -> Any:
    """GET /v2/projects/{p}/configs: the project's own and the platform's."""
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
        and config.project in (call.path["project"], PUBLIC_PROJECT)
    ]
    return paged(call.query, found)


def get_config(store: Store, call: Call) -> Any:
    """GET /v2/projects/{p}/configs/{cr}."""
    call.expect()
    config = store.catalogue.configs.get(call.path["id"])
    if config is None or config.project not in (call.path["project"], PUBLIC_PROJECT):
        raise not_found("config", call.path["id"])
    return config_json(store, config)


def config_json(store: Store, config: Config) -> dict[str, Any]:
    """Return a config revision; its selectors describe the hardware and the setup."""
    profile = config.profile
    wire: dict[str, Any] = {
        "id": config.id,
        "projectId": config.project,
        "referenceModel": config.model.resource,
        "referenceModelId": config.model.model_id,
        "selectors": [
            {"key": "accelerator_count", "value": profile.gpu_count},
            {"key": "accelerator_type", "value": profile.accelerator},
            {"key": "optimization", "value": profile.optimization},
            {"key": "topology", "value": profile.topology},
            {"key": "adapter_mode", "value": profile.adapter_mode},
        ],
        "certifications": [
            {
                "certificationType": "CERTIFICATION_TYPE_CERTIFIED",
                "certifiedAt": store.wire_time(0.0),
                "certifiedBy": "together_emulator",
                "model": config.model.resource,
                "modelRevisionId": config.model.weights_id(profile),
                "target": "CERTIFICATION_TARGET_MRE",
            }
        ],
    }
    draft = store.catalogue.model_named(profile.draft_model) if profile.draft_model else None
    if draft is not None:
        wire["draftModel"] = draft.resource
    return wire
