"""The instance types of replicas, with price and free capacity.

Source: Together API, GET /v2/public/inference-instance-types.
"""

from typing import Any

from together_emulator.http.call import Call, listing
from together_emulator.http.errors import not_found
from together_emulator.state.catalogue import InstanceType
from together_emulator.state.store import Store


def list_instance_types(store: Store, call: Call) -> Any:
    """GET /v2/public/inference-instance-types: all of them, without pagination."""
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
