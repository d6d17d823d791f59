"""What v2 offers: a model's deployment profiles joined with the instance types that are sold.

The join is by what the config asks for, `{accelerator_count}x{accelerator_type}`, which is the
instance type's name. Source: Together API, `models/configs` and `inference-instance-types`.
"""

import difflib
import re
from dataclasses import replace
from typing import Any

from mayfly.models.errors import BadRequest
from mayfly.models.offers import Offer, RegionCapacity, same_hardware
from mayfly.together.errors import Refused, translated
from mayfly.together.parsing import count, field, items, listed, must_be_json, number, text

_DEDICATED = "PRODUCT_DEDICATED"


def offers_v2(client: Any, project: str, model: str) -> list[Offer]:
    """List the hardware that a model can be deployed on, one offer per profile.

    Raises:
        BadRequest: There is no such model; the message names close ones.
    """
    entry = _supported(client, model)
    profiles = items(entry, "deployment_profiles")
    if not profiles:
        return []
    types = instance_types(client)
    offers = []
    for profile in profiles:
        # A profile that pins no config or no weights cannot be deployed by them.
        if text(profile, "config") and text(profile, "model"):
            sold = _sold(types, profile, _selectors(client, project, profile))
            if sold is not None:
                offers.append(_offer(profile, sold, _token_usd(entry)))
    return offers


def instance_types(client: Any) -> list[Offer]:
    """List every instance type with its price and what is free, whatever the model."""
    offers = []
    for item in listed("list instance types", client.endpoints.hardware.list):
        cents = number(item, "price_cents_per_hour")
        if not text(item, "name") or cents is None:
            # What cannot be named or has no price cannot be rented with open eyes.
            continue
        offers.append(
            Offer(
                hardware=text(item, "name"),
                gpu_type=text(item, "gpu_type"),
                gpu_count=count(item, "gpu_count") or 1,
                gpu_memory_gib=count(item, "gpu_memory_gib") or 0,
                price_usd_per_h=cents / 100,
                regions=tuple(_region(region) for region in items(item, "regions")),
            )
        )
    return offers


def dedicated_models(client: Any) -> list[str]:
    """List the names of all models that can be deployed."""
    ask = client.models.list_supported
    found = listed("list dedicated models", lambda: ask(product=_DEDICATED))
    return [text(entry, "name") for entry in found]


def unknown_model(model: str, near: list[str], names: list[str]) -> BadRequest:
    """Return the refusal of a model that there is not, with the names that come close."""
    close = near or difflib.get_close_matches(model, names, n=5, cutoff=0.4) or names[:10]
    meant = f"; did you mean: {', '.join(close[:10])}" if close else ""
    return BadRequest(f"model {model} is not among the dedicated models{meant}")


def _supported(client: Any, model: str) -> Any:
    """Return the catalogue's entry for a model; a search is a help, the name decides."""
    ask = client.models.list_supported
    found = listed(f"look up model {model}", lambda: ask(search=model, product=_DEDICATED))
    near = [text(entry, "name") for entry in found]
    exact = [entry for entry in found if model in (text(entry, "name"), text(entry, "id"))]
    if not exact:
        everything = listed("list dedicated models", lambda: ask(product=_DEDICATED))
        exact = [entry for entry in everything if model in (text(entry, "name"), text(entry, "id"))]
        if not exact:
            raise unknown_model(model, near, [text(entry, "name") for entry in everything])
    return exact[0]


def _selectors(client: Any, project: str, profile: Any) -> dict[str, str]:
    """Return what a profile's config asks for; nothing when the config is not to be seen."""
    revision = text(profile, "certified_config_revision_id") or text(profile, "config")
    revision = revision.rsplit("/", 1)[-1]
    try:
        with translated(f"look up config {revision}"):
            config = client.models.configs.retrieve(revision, project_id=project)
    except Refused:
        return {}
    must_be_json(f"look up config {revision}", config)
    return {text(item, "key"): text(item, "value") for item in items(config, "selectors")}


def _sold(types: list[Offer], profile: Any, selectors: dict[str, str]) -> Offer | None:
    """Return the instance type that a profile runs on, or None when it is not sold.

    The config's selectors name it. Where they do not, GPU and count of the profile do, if they
    leave no choice; how a profile spells its GPU varies.
    """
    gpus = selectors.get("accelerator_count") or str(count(profile, "gpu_count") or 1)
    kind = selectors.get("accelerator_type") or text(profile, "gpu_type")
    name = f"{gpus}x{kind}"
    for same in (lambda offer: offer.hardware == name, lambda o: same_hardware(o.hardware, name)):
        if found := next((offer for offer in types if same(offer)), None):
            return found
    alike = [
        o for o in types if str(o.gpu_count) == gpus and _model_of(kind) == _model_of(o.gpu_type)
    ]
    return alike[0] if len(alike) == 1 else None


def _model_of(gpu: str) -> str:
    """Return a GPU's bare model, such as `h100`, from any way to write it."""
    words = [word for word in re.split(r"[^a-z0-9]+", gpu.lower()) if word]
    named = [word for word in words if re.fullmatch(r"[a-z]+\d+[a-z]*", word)]
    return named[0] if named else "".join(words)


def _token_usd(model: Any) -> tuple[float, float] | None:
    """Return what the model costs where it is sold by the token, per million in and out."""
    pricing = field(model, "pricing")
    usd_in, usd_out = number(pricing, "input"), number(pricing, "output")
    return None if usd_in is None or usd_out is None else (usd_in, usd_out)


def _offer(profile: Any, sold: Offer, token_usd: tuple[float, float] | None) -> Offer:
    benchmarks = field(profile, "performance_benchmarks")
    return replace(
        sold,
        model_ref=text(profile, "model"),
        config_ref=text(profile, "config"),
        quantization=text(profile, "quantization"),
        parallelism=text(profile, "parallelism"),
        tokens_per_s=number(benchmarks, "decoding_speed_tps"),
        first_token_ms=count(benchmarks, "time_to_first_token_ms"),
        max_context=count(benchmarks, "max_context_length"),
        token_usd=token_usd,
    )


def _region(region: Any) -> RegionCapacity:
    headroom = field(region, "headroom")
    return RegionCapacity(
        name=text(region, "name"),
        free=count(headroom, "value"),
        at_least=text(headroom, "relation") == "RELATION_GTE",
    )
