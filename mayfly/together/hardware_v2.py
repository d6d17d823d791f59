"""v2's hardware: a model's deployment profiles joined with the available instance types.

The join is by the config's `{accelerator_count}x{accelerator_type}`, which is the instance type's
name. Source: Together API, `models/configs` and `inference-instance-types`.
"""

import re
from contextlib import suppress
from dataclasses import replace
from typing import Any

from mayfly.models.catalogue import ModelEntry
from mayfly.models.errors import BadRequest, MayflyError
from mayfly.models.offers import Offer, RegionCapacity, same_hardware
from mayfly.together.errors import Refused, translated
from mayfly.together.own_models_v2 import (
    OwnModel,
    configs_of,
    deployable,
    entry_of,
    find_own,
    is_reference,
    own_models,
    selectors_of,
)
from mayfly.together.parsing import count, field, items, listed, must_be_json, number, text
from mayfly.together.sdk import HardwareResource
from mayfly.together.suggestions import unknown_model

_DEDICATED = "PRODUCT_DEDICATED"


def offers_v2(client: Any, project: str, model: str, *, config: str | None = None) -> list[Offer]:
    """List the hardware that a model can be deployed on, one offer per profile or config.

    Args:
        model: A name of the catalogue, or an own model's id, path or name.
        config: Only this config's hardware; the catalogue need not list it.

    Raises:
        BadRequest: There is no such model (the message names similar ones), or no such config.
    """
    entry = None if is_reference(model) else _supported(client, model)
    if entry is not None:
        offers = _catalogue_offers(client, project, entry, config)
    elif (own := find_own(client, project, model)) is not None:
        offers = _own_offers(client, project, own, every=config is not None)
    else:
        raise unknown_model(model, all_names(client, project))
    if config is None:
        return offers
    pinned = [offer for offer in offers if offer.config == config.rsplit("/", 1)[-1]]
    if not pinned:
        known = ", ".join(f"{offer.config} ({offer.hardware})" for offer in offers)
        raise BadRequest(
            f"--config {config}: no available config of {model} has this id; "
            + (f"choose one of: {known}" if known else "it has none")
        )
    return pinned


def _catalogue_offers(client: Any, project: str, entry: Any, config: str | None) -> list[Offer]:
    profiles = items(entry, "deployment_profiles")
    if not profiles:
        return []
    types = instance_types(client)
    offers = []
    for profile in profiles:
        # A profile without a config or weights cannot be deployed.
        if text(profile, "config") and text(profile, "model"):
            found = _config(client, project, profile)
            sold = _sold(types, profile, {} if found is None else selectors_of(found))
            if sold is not None:
                offers.append(_offer(profile, sold, found, _token_usd(entry)))
    if config is not None and config.rsplit("/", 1)[-1] not in {offer.config for offer in offers}:
        weights = text(profiles[0], "model")
        own = OwnModel(id="", name=text(entry, "name"), path=weights.split("/revisions/")[0])
        offers += [
            replace(offer, token_usd=_token_usd(entry))
            for offer in _own_offers(client, project, own, every=True)
            if offer.config not in {known.config for known in offers}
        ]
    return offers


def _own_offers(client: Any, project: str, own: OwnModel, *, every: bool = False) -> list[Offer]:
    """List the hardware for an own model, for which there are no benchmarks."""
    configs = configs_of(client, project, own, every=every)
    own = deployable(own, configs)
    types = instance_types(client)
    offers = []
    for config in configs:
        sold = _sold(types, None, selectors_of(config))
        # The config often belongs to the platform: its resource name has its own project.
        owner = text(config, "project_id")
        if sold is not None and owner and text(config, "id"):
            offers.append(
                replace(
                    sold,
                    model_ref=own.resource,
                    config_ref=f"projects/{owner}/configs/{text(config, 'id')}",
                    max_context=own.context,
                    draft_model=text(config, "draft_model"),
                    optimization=selectors_of(config).get("optimization", ""),
                )
            )
    return offers


def all_names(client: Any, project: str) -> list[str]:
    """List the names of the catalogue's models that can be deployed, and of the project's own."""
    names: list[str] = []
    with suppress(MayflyError):
        names += dedicated_models(client)
    with suppress(MayflyError):
        names += [own.name for own in own_models(client, project)]
    return names


def entries_v2(client: Any, project: str, *, mine: bool) -> list[ModelEntry]:
    """List the models that can be deployed: the catalogue's, or the project's own."""
    if not mine:
        request = client.models.list_supported
        found = listed("list dedicated models", lambda: request(product=_DEDICATED))
        return [_entry(entry) for entry in found]
    own = own_models(client, project)
    names = {}
    if any(each.base for each in own):
        request = client.models.list_supported
        with suppress(MayflyError):
            found = listed("list dedicated models", lambda: request(product=_DEDICATED))
            names = {text(entry, "base_model"): text(entry, "name") for entry in found}
    return [
        entry_of(
            each,
            0 if each.kind == "draft" else len(configs_of(client, project, each)),
            names.get(each.base, ""),
        )
        for each in own
    ]


def _entry(entry: Any) -> ModelEntry:
    modalities = (str(word) for word in items(entry, "input_modalities"))
    return ModelEntry(
        name=text(entry, "name"),
        id=text(entry, "id"),
        kind="catalogue",
        configs=len(items(entry, "deployment_profiles")),
        context=count(entry, "context_length"),
        modalities=tuple(word.removeprefix("MODALITY_").lower() for word in modalities),
        token_usd=_token_usd(entry),
    )


def instance_types(client: Any) -> list[Offer]:
    """List all instance types with prices and free capacity, for any model."""
    offers = []
    # As `client.endpoints.hardware`, without the import of every other resource of an endpoint.
    for item in listed("list instance types", HardwareResource(client).list):
        cents = number(item, "price_cents_per_hour")
        if not text(item, "name") or cents is None:
            # Nothing is rented without a name or a price.
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
    request = client.models.list_supported
    found = listed("list dedicated models", lambda: request(product=_DEDICATED))
    return [text(entry, "name") for entry in found]


def _supported(client: Any, model: str) -> Any | None:
    """Return the catalogue's entry for a model, or None; the search only saves time."""
    call, request = f"find model {model}", client.models.list_supported
    found = listed(call, lambda: request(product=_DEDICATED, search=model))
    exact = _named(found, model)
    return exact or _named(listed(call, lambda: request(product=_DEDICATED)), model)


def _named(entries: list[Any], model: str) -> Any | None:
    same = (entry for entry in entries if model in (text(entry, "name"), text(entry, "id")))
    return next(same, None)


def _config(client: Any, project: str, profile: Any) -> Any | None:
    """Return a profile's config; None if it is not accessible."""
    revision = text(profile, "certified_config_revision_id") or text(profile, "config")
    revision = revision.rsplit("/", 1)[-1]
    try:
        with translated(f"get config {revision}"):
            config = client.models.configs.retrieve(revision, project_id=project)
    except Refused:
        return None
    return must_be_json(f"get config {revision}", config)


def _sold(types: list[Offer], profile: Any, selectors: dict[str, str]) -> Offer | None:
    """Return the instance type that a profile runs on, or None if it is not available.

    The config's selectors name it. Otherwise the profile's GPU and count do, if only one type
    matches; profiles spell their GPUs in several ways.
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
    """Return a GPU's model, such as `h100`, from any spelling."""
    words = [word for word in re.split(r"[^a-z0-9]+", gpu.lower()) if word]
    named = [word for word in words if re.fullmatch(r"[a-z]+\d+[a-z]*", word)]
    return named[0] if named else "".join(words)


def _token_usd(model: Any) -> tuple[float, float] | None:
    """Return the price per million input and output tokens, if sold by the token."""
    pricing = field(model, "pricing")
    usd_in, usd_out = number(pricing, "input"), number(pricing, "output")
    return None if usd_in is None or usd_out is None else (usd_in, usd_out)


def _offer(
    profile: Any, sold: Offer, config: Any | None, token_usd: tuple[float, float] | None
) -> Offer:
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
        draft_model="" if config is None else text(config, "draft_model"),
        optimization="" if config is None else selectors_of(config).get("optimization", ""),
    )


def _region(region: Any) -> RegionCapacity:
    headroom = field(region, "headroom")
    return RegionCapacity(
        name=text(region, "name"),
        free=count(headroom, "value"),
        at_least=text(headroom, "relation") == "RELATION_GTE",
    )
