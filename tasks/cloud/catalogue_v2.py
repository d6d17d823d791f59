"""What v2 offers: a model's deployment profiles joined with the instance types that are sold.

The join is by what the config asks for, `{accelerator_count}x{accelerator_type}`, which is the
instance type's name. Source: Together API, `models/configs` and `inference-instance-types`.
"""

import difflib
from typing import Any

from tasks.cloud.api_errors import translated
from tasks.core.errors import BadRequest
from tasks.core.placement import Offer, RegionCapacity


def offers_v2(client: Any, project: str, model: str) -> list[Offer]:
    """List the hardware that a model can be deployed on, one offer per profile.

    Raises:
        BadRequest: There is no such model; the message names close ones.
    """
    with translated(f"look up model {model}"):
        found = list(client.models.list_supported(search=model, product="PRODUCT_DEDICATED"))
    exact = [entry for entry in found if model in (entry.name, entry.id)]
    if not exact:
        raise _unknown_model(client, model, [entry.name for entry in found])
    profiles = exact[0].deployment_profiles or []
    if not profiles:
        return []
    types = {offer.hardware: offer for offer in instance_types(client)}
    offers = []
    for profile in profiles:
        hardware = _hardware(client, project, profile)
        if (sold := types.get(hardware)) is not None:
            offers.append(_offer(profile, sold, _token_usd(exact[0])))
    return offers


def instance_types(client: Any) -> list[Offer]:
    """List every instance type with its price and what is free, whatever the model."""
    with translated("list instance types"):
        listed = client.endpoints.hardware.list()
    return [
        Offer(
            hardware=item.name,
            gpu_type=item.gpu_type,
            gpu_count=item.gpu_count,
            gpu_memory_gib=item.gpu_memory_gib,
            price_usd_per_h=float(item.price_cents_per_hour) / 100,
            regions=tuple(_region(region) for region in item.regions or []),
        )
        for item in listed.data
    ]


def _hardware(client: Any, project: str, profile: Any) -> str:
    """Return the instance type's name that a profile's config asks for."""
    revision = profile.certified_config_revision_id or profile.config.rsplit("/", 1)[-1]
    with translated(f"look up config {revision}"):
        config = client.models.configs.retrieve(revision, project_id=project)
    selectors = {item.key: item.value for item in config.selectors or []}
    count = selectors.get("accelerator_count", profile.gpu_count)
    return f"{count}x{selectors.get('accelerator_type', profile.gpu_type)}"


def _token_usd(model: Any) -> tuple[float, float] | None:
    """Return what the model costs where it is sold by the token, per million in and out."""
    pricing = getattr(model, "pricing", None)
    prices = getattr(pricing, "input", None), getattr(pricing, "output", None)
    if prices[0] is None or prices[1] is None:
        return None
    return float(prices[0]), float(prices[1])


def _offer(profile: Any, sold: Offer, token_usd: tuple[float, float] | None) -> Offer:
    benchmarks = profile.performance_benchmarks
    context = getattr(benchmarks, "max_context_length", None)
    return Offer(
        hardware=sold.hardware,
        gpu_type=sold.gpu_type,
        gpu_count=sold.gpu_count,
        gpu_memory_gib=sold.gpu_memory_gib,
        price_usd_per_h=sold.price_usd_per_h,
        regions=sold.regions,
        model_ref=profile.model,
        config_ref=profile.config,
        quantization=profile.quantization or "",
        parallelism=profile.parallelism or "",
        tokens_per_s=getattr(benchmarks, "decoding_speed_tps", None),
        first_token_ms=getattr(benchmarks, "time_to_first_token_ms", None),
        max_context=None if context is None else int(context),
        token_usd=token_usd,
    )


def _region(region: Any) -> RegionCapacity:
    headroom = getattr(region, "headroom", None)
    value = getattr(headroom, "value", None)
    return RegionCapacity(
        name=region.name,
        free=None if value is None else int(value),
        at_least=getattr(headroom, "relation", "") == "RELATION_GTE",
    )


def _unknown_model(client: Any, model: str, near: list[str]) -> BadRequest:
    with translated("list dedicated models"):
        names = [entry.name for entry in client.models.list_supported(product="PRODUCT_DEDICATED")]
    close = near or difflib.get_close_matches(model, names, n=5, cutoff=0.4) or names[:10]
    return BadRequest(
        f"model {model} is not among the dedicated models; did you mean: {', '.join(close)}"
    )
