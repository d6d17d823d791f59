"""The read-only legacy calls: whoami, hardware, availability zones.

Source: Together API, v1 (snake_case; lists without a cursor).
"""

from typing import Any

from together_emulator.http.call import Call
from together_emulator.http.errors import not_found
from together_emulator.state.catalogue import InstanceType
from together_emulator.state.store import Store

_FITS = {True: "available", False: "insufficient", None: "unavailable"}


def whoami(store: Store, call: Call) -> Any:
    """GET /v1/whoami: flat, unlike v3."""
    call.expect()
    return {
        "api_key_id": store.api_key_id,
        "organization_id": store.organization_id,
        "organization_name": store.organization_name,
        "project_id": store.project_id,
        "project_name": store.project_name,
        "project_slug": store.slug,
    }


def list_hardware(store: Store, call: Call) -> Any:
    """GET /v1/hardware: all hardware, or with `model` what it runs on, with availability."""
    call.expect(query=("model",))
    name = call.query.get("model")
    if name is None:
        return plain_list([_hardware(store, kind) for kind in store.catalogue.hardware])
    model = store.catalogue.model_named(name)
    if model is None:
        raise not_found("model", name)
    named = {config.profile.hardware for config in store.catalogue.configs_for(model)}
    kinds = [kind for kind in store.catalogue.hardware if kind.name in named]
    return plain_list(
        [
            _hardware(store, kind)
            | {"availability": {"status": _FITS[store.capacity.fits(kind.name)]}}
            for kind in kinds
        ]
    )


def list_zones(store: Store, call: Call) -> Any:
    """GET /v1/clusters/availability-zones."""
    call.expect()
    return {"avzones": sorted(store.capacity.regions())}


def cents_per_min(kind: InstanceType) -> float:
    """Return the price of a replica in the legacy API."""
    if kind.v1_cents_per_min is None:
        return kind.price_cents_per_h / 60
    return kind.v1_cents_per_min


def plain_list(data: list[Any]) -> dict[str, Any]:
    """Return the wrapper of a list without pagination."""
    return {"object": "list", "data": data}


def _hardware(store: Store, kind: InstanceType) -> dict[str, Any]:
    return {
        "object": "hardware",
        "id": kind.v1_id,
        "pricing": {"cents_per_minute": cents_per_min(kind)},
        "specs": {
            "gpu_type": f"{kind.gpu_type.lower()}-{kind.gpu_memory_gib}gb",
            "gpu_link": kind.gpu_link,
            "gpu_memory": kind.gpu_memory_gib,
            "gpu_count": kind.gpu_count,
        },
        "updated_at": store.wire_time(store.now_s),
    }
