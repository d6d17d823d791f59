"""v1's hardware with prices, and for a model its availability.

Source: Together API, `GET /v1/hardware` and `GET /v1/clusters/availability-zones`.
"""

from typing import Any

from mayfly.models.errors import BadRequest
from mayfly.models.offers import Offer, RegionCapacity
from mayfly.together.errors import Refused, translated
from mayfly.together.hardware_v2 import all_names
from mayfly.together.own_models_v2 import is_reference
from mayfly.together.parsing import count, field, items, must_be_json, number, text
from mayfly.together.suggestions import unknown_model

_MINUTES = 60


def offers_v1(client: Any, project: str, model: str) -> list[Offer]:
    """List the hardware that a model can be deployed on, with its availability.

    A fine-tuned model's name is accepted as well; ids and paths exist in v2 only.

    Raises:
        BadRequest: There is no such model; the message names similar ones.
    """
    if is_reference(model):
        raise BadRequest(f"--model {model}: API v1 takes names only; give the model's name")
    try:
        return hardware_v1(client, model=model)
    except Refused as refusal:
        if refusal.status not in (400, 404, 422):
            raise
        raise unknown_model(model, all_names(client, project)) from refusal


def hardware_v1(client: Any, **query: str) -> list[Offer]:
    """List hardware; with `model`, only what it can be deployed on, with availability."""
    found = get(client, "list hardware", "/v1/hardware", **query)
    # Zones belong to the platform, not to the hardware: they only list valid values.
    zones = _zones(client) if "model" in query else ()
    return [
        _offer(entry, zones)
        for entry in items(found, "data")
        if text(entry, "id") and number(field(entry, "pricing"), "cents_per_minute") is not None
    ]


def get(client: Any, call: str, path: str, **query: str) -> Any:
    """Send a raw GET through the SDK (OutcomeUnknown if the response is not JSON)."""
    with translated(call):
        found = client.get(path, cast_to=object, options={"params": query} if query else {})
    return must_be_json(call, found)


def _zones(client: Any) -> tuple[RegionCapacity, ...]:
    """Return the availability zones; empty if the API does not say."""
    try:
        found = get(client, "list availability zones", "/v1/clusters/availability-zones")
    except Refused:
        return ()
    return tuple(RegionCapacity(name=str(zone)) for zone in items(found, "avzones"))


def _offer(entry: Any, zones: tuple[RegionCapacity, ...]) -> Offer:
    specs = field(entry, "specs")
    cents_per_min = number(field(entry, "pricing"), "cents_per_minute") or 0.0
    return Offer(
        hardware=text(entry, "id"),
        gpu_type=text(specs, "gpu_type"),
        gpu_count=count(specs, "gpu_count") or 1,
        gpu_memory_gib=count(specs, "gpu_memory") or 0,
        price_usd_per_h=round(cents_per_min * _MINUTES / 100, 6),
        regions=zones,
        availability=text(field(entry, "availability"), "status").lower(),
    )
