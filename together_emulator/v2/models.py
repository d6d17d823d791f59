"""Model records of a project: fine-tunes, uploads and adapters, and their revisions.

The platform's models are records of the platform's project: they are found by the path in a profile
or a config, not in the key's project.

Source: Together API, GET /v2/projects/{p}/models, and together 3.1.1.
"""

from typing import Any

from together_emulator.http.call import Call, listing
from together_emulator.http.errors import not_found
from together_emulator.http.fields import choice
from together_emulator.http.filters import paged
from together_emulator.state.catalogue import OWN_PROJECT, Model
from together_emulator.state.store import Store

_VISIBILITIES = ("VISIBILITY_PRIVATE", "VISIBILITY_INTERNAL")
_REVISION_APART_S = 86_400.0


def list_models(store: Store, call: Call) -> Any:
    """GET P/models: the project's own, filtered by `visibility` and `organizationId`."""
    call.expect(query=("after", "limit", "visibility", "organizationId"))
    visibility = choice(call.query, "visibility", _VISIBILITIES)
    organization = call.query.get("organizationId", store.organization_id)
    found = [(model.model_id, model_json(store, model)) for model in store.catalogue.own]
    return paged(
        call.query,
        [
            (key, wire)
            for key, wire in found
            if visibility in (None, wire["visibility"])
            and wire["projectId"] == call.path["project"]
            and wire["organizationId"] == organization
        ],
    )


def list_organization_models(store: Store, call: Call) -> Any:
    """GET /v2/organizations/{o}/models: those visible to all projects of the organization."""
    call.expect(query=("after", "limit"))
    if call.path["organization"] != store.organization_id:
        raise not_found("organization", call.path["organization"])
    return listing([])


def get_model(store: Store, call: Call) -> Any:
    """GET P/models/{ml}: only of that project (404)."""
    call.expect()
    return model_json(store, _found(store, call))


def list_revisions(store: Store, call: Call) -> Any:
    """GET P/models/{ml}/revisions, newest first."""
    call.expect(query=("after", "limit"))
    model = _found(store, call)
    made = [
        (
            model.revision_id(revision),
            {
                "revisionId": model.revision_id(revision),
                "createdAt": store.wire_time(index * _REVISION_APART_S),
                "validationStatus": "REVISION_VALIDATION_STATUS_"
                + ("SUCCESS" if revision.valid else "FAILED"),
            },
        )
        for index, revision in enumerate(model.revisions)
    ]
    return paged(call.query, made[::-1])


def model_json(store: Store, model: Model) -> dict[str, Any]:
    """Return a model record; the base is omitted if there is none."""
    wire: dict[str, Any] = {
        "id": model.model_id,
        "name": model.name,
        "organizationId": store.organization_id,
        "projectId": model.project,
        "visibility": "VISIBILITY_PRIVATE" if model.own else "VISIBILITY_INTERNAL",
        "weights": {
            "type": f"WEIGHTS_TYPE_{model.weights}",
            "architecture": model.architecture,
            "contextLength": str(model.context_length),
            "parameters": {
                "total": str(model.parameters),
                "byDtype": [{"dtype": "BF16", "count": str(model.parameters)}],
            },
        },
    }
    base = store.catalogue.base_of(model)
    if base is not None:
        wire |= {"baseModel": base.resource, "baseModelId": base.model_id}
    if model.description:
        wire["description"] = model.description
    return wire


def _found(store: Store, call: Call) -> Model:
    project = call.path["project"]
    model = store.catalogue.model_of(project, call.path["id"])
    if model is None:
        where = "" if project == OWN_PROJECT else f" in project {project}"
        raise not_found("model", f"{call.path['id']}{where}")
    return model
