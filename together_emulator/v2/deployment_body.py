"""The parts of a deployment's body: model and config, replicas, placement, limits.

Source: Together API, POST and PATCH deployments.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from together_emulator.http.errors import ApiError, bad_request
from together_emulator.http.fields import (
    choice,
    duration_s,
    integer,
    mapping,
    number,
    only,
    text,
    wrong,
)
from together_emulator.state.catalogue import Config, Model, Profile
from together_emulator.state.store import Store

UPDATE_FIELDS = ("autoscaling", "inactiveTimeout", "maxConcurrentRequestsPerReplica", "name")
CREATE_FIELDS = (
    *UPDATE_FIELDS,
    "config",
    "configId",
    "model",
    "modelId",
    "modelRevisionId",
    "placement",
)
_WINDOWS = ("scaleUpWindow", "scaleDownWindow", "scaleToZeroWindow")
AUTOSCALING_FIELDS = (*_WINDOWS, "scalingMetrics", "scaleUp", "scaleDown")
_METRICS = (
    "active_sessions",
    "cache_hit_rate",
    "decoding_speed",
    "e2e_latency",
    "gpu_utilization",
    "inflight_requests",
    "throughput_per_replica",
    "token_utilization",
    "ttft",
)
_TARGETS = (
    "METRIC_TARGET_TYPE_VALUE",
    "METRIC_TARGET_TYPE_UTILIZATION",
    "METRIC_TARGET_TYPE_AVERAGE_VALUE",
)
_POLICIES = ("SCALING_POLICY_TYPE_PODS", "SCALING_POLICY_TYPE_PERCENT")
_SELECTS = (
    "SCALING_POLICY_SELECT_MAX",
    "SCALING_POLICY_SELECT_MIN",
    "SCALING_POLICY_SELECT_DISABLED",
)
_MODEL = re.compile(
    r"^projects/(?P<project>[^/]+)/models/(?P<model>[^/]+)(?:/revisions/(?P<revision>[^/]+))?$"
)
_CONFIG = re.compile(r"^projects/(?P<project>[^/]+)/configs/(?P<config>[^/]+)$")
_MAX_REPLICAS = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Where a deployment may run.

    Attributes:
        wire: The `placement` as given.
    """

    regions: tuple[str, ...] = ()
    required: bool = False
    hipaa: bool = False
    wire: dict[str, Any] | None = None


def bounds_of(autoscaling: Mapping[str, Any], current: tuple[int, int] | None) -> tuple[int, int]:
    """Read minReplicas and maxReplicas (400); missing ones are kept, max defaults to min."""
    smallest = integer(autoscaling, "minReplicas", most=_MAX_REPLICAS)
    largest = integer(autoscaling, "maxReplicas", most=_MAX_REPLICAS)
    if smallest is None:
        if current is None:
            raise bad_request("autoscaling.minReplicas is required", param="autoscaling")
        smallest = current[0]
    if largest is None:
        largest = smallest if current is None else current[1]
    if smallest > largest:
        raise bad_request(
            f"minReplicas {smallest} is above maxReplicas {largest}", param="autoscaling"
        )
    if smallest == 0 < largest:
        raise bad_request(
            "minReplicas 0 needs maxReplicas 0: set both to 0 to stop, or minReplicas to 1",
            param="autoscaling",
        )
    return smallest, largest


def read_autoscaling(autoscaling: Mapping[str, Any]) -> dict[str, Any]:
    """Validate everything except the bounds and return it as given (400)."""
    only(autoscaling, ("minReplicas", "maxReplicas", *AUTOSCALING_FIELDS), "autoscaling field")
    for window in _WINDOWS:
        duration_s(autoscaling, window)
    for name in ("scaleUp", "scaleDown"):
        _check_rules(mapping(autoscaling, name) or {})
    metrics = autoscaling.get("scalingMetrics") or []
    if not isinstance(metrics, list):
        raise wrong("scalingMetrics", "a list", metrics)
    for metric in metrics:
        if not isinstance(metric, dict):
            raise wrong("scalingMetrics", "a list of objects", metric)
        only(metric, ("name", "target", "type", "percentile"), "scalingMetrics field")
        named = choice(metric, "name", _METRICS), choice(metric, "type", _TARGETS)
        if None in named or number(metric, "target", least=0) is None:
            raise bad_request("a scaling metric needs name, type and target", param="autoscaling")
    return {name: autoscaling[name] for name in AUTOSCALING_FIELDS if name in autoscaling}


def changed_autoscaling(
    current: Mapping[str, Any], autoscaling: Mapping[str, Any], mask: str | None
) -> dict[str, Any]:
    """Return `autoscaling` after an update (400); missing fields are kept unless the mask names
    them.

    Rules are merged: empty policies and a missing selector change nothing.
    """
    given = read_autoscaling(autoscaling)
    changed = dict(current)
    for name, value in given.items():
        if name in ("scaleUp", "scaleDown"):
            kept = {k: v for k, v in (value or {}).items() if v not in (None, [])}
            changed[name] = {**(changed.get(name) or {}), **kept}
        elif value is not None:
            changed[name] = value
    for path in mask.split(",") if mask else ():
        top, *rest = path.strip().split(".")[0:3]
        if top != "autoscaling" or not rest:
            continue
        name, *inner = rest
        if not inner and given.get(name) is None:
            changed.pop(name, None)
        elif inner and not (given.get(name) or {}).get(inner[0]):
            changed[name] = {k: v for k, v in (changed.get(name) or {}).items() if k != inner[0]}
    return changed


def _check_rules(rules: Mapping[str, Any]) -> None:
    only(rules, ("policies", "selectPolicy"), "scaling rules field")
    choice(rules, "selectPolicy", _SELECTS)
    for policy in rules.get("policies") or []:
        if not isinstance(policy, dict):
            raise wrong("policies", "a list of objects", policy)
        only(policy, ("periodSeconds", "type", "value"), "scaling policy field")
        given = (
            integer(policy, "periodSeconds", least=1, most=1800),
            choice(policy, "type", _POLICIES),
            integer(policy, "value", least=1),
        )
        if None in given:
            raise bad_request("a scaling policy needs periodSeconds, type and value")


def read_model_and_config(store: Store, body: Mapping[str, Any]) -> tuple[Model, Config, str]:
    """Return model, config and the revision of the weights that a body names (400).

    An own model runs on its own configs or on those of its base model; an adapter is merged into
    its base model, on a config that does not attach adapters.
    """
    name = text(body, "model")
    if name is not None:
        match = _MODEL.match(name)
        if match is None:
            raise bad_request(
                f"model {name!r} is not projects/{{p}}/models/{{m}}[/revisions/{{r}}]",
                param="model",
            )
        project, model_id, revision = match["project"], match["model"], match["revision"]
        model = store.catalogue.model_of(project, model_id)
    else:
        model_id, revision = text(body, "modelId"), text(body, "modelRevisionId")
        if model_id is None:
            raise bad_request("model is required", param="model")
        model = store.catalogue.model_with_id(model_id)
    if model is None:
        raise _no_such("model", name or model_id)
    if model.weights == "SPECULATOR":
        raise bad_request(f"{model.name} is a speculator and cannot be deployed", param="model")
    config = _read_config(store, body)
    if config not in store.catalogue.configs_for(model):
        why = ""
        if model.weights == "ADAPTER" and config.profile.adapter_mode != "disabled":
            why = f": adapter_mode {config.profile.adapter_mode} attaches adapters, it merges none"
        raise bad_request(
            f"config {config.id} is not compatible with the model{why}", param="config"
        )
    return model, config, _read_revision(model, config, revision)


def _read_revision(model: Model, config: Config, wanted: str | None) -> str:
    served = model.weights_id(config.profile)
    if wanted is None:
        return served
    if model.revisions:
        revision = model.revision_with_id(wanted)
        if revision is None:
            raise _no_such("model revision", wanted)
        if not revision.valid:
            raise bad_request(f"model revision {wanted} failed validation", param="model")
        return wanted
    if wanted not in {model.weights_id(profile) for profile in model.profiles}:
        raise _no_such("model revision", wanted)
    if wanted != served:
        raise bad_request(
            f"config {config.id} is not compatible with model revision {wanted}", param="config"
        )
    return served


def _read_config(store: Store, body: Mapping[str, Any]) -> Config:
    name, project = text(body, "config"), None
    if name is not None:
        match = _CONFIG.match(name)
        if match is None:
            raise bad_request(
                f"config {name!r} is not projects/{{p}}/configs/{{c}}", param="config"
            )
        project, config_id = match["project"], match["config"]
    else:
        config_id = text(body, "configId")
    if config_id is None:
        raise bad_request("config is required", param="config")
    config = store.catalogue.configs.get(config_id)
    if config is None or project not in (None, config.project):
        raise _no_such("config", name or config_id)
    return config


def _no_such(kind: str, name: str) -> ApiError:
    return bad_request(f"{kind} {name!r} does not exist", param=kind.partition(" ")[0])


def read_placement(store: Store, hardware: str, body: Mapping[str, Any]) -> Placed:
    """Read `placement`: only inline regions, because profiles are not emulated (400)."""
    placement = mapping(body, "placement")
    if placement is None:
        return Placed()
    only(placement, ("inline", "profile"), "placement field")
    if "profile" in placement:
        raise bad_request(
            f"placement profile {placement['profile']!r} does not exist", param="placement"
        )
    inline = mapping(placement, "inline")
    if inline is None:
        raise bad_request("placement needs inline or profile", param="placement")
    only(inline, ("regions", "constraint", "compliancePolicy"), "placement field")
    constraint = choice(inline, "constraint", ("ENFORCEMENT_REQUIRED", "ENFORCEMENT_PREFERRED"))
    policy = mapping(inline, "compliancePolicy") or {}
    only(policy, ("hipaa",), "compliancePolicy field")
    regions = inline.get("regions") or []
    if not isinstance(regions, list) or not all(isinstance(region, str) for region in regions):
        raise wrong("regions", "a list of strings", regions)
    known = store.capacity.regions()
    for region in regions:
        if region not in known:
            raise bad_request(f"unknown region {region!r}", param="placement")
    required = constraint != "ENFORCEMENT_PREFERRED"
    offered = store.capacity.regions(hardware)
    if regions and required and not offered.intersection(regions):
        raise bad_request(f"{hardware} is not offered in {', '.join(regions)}", param="placement")
    return Placed(
        regions=tuple(regions),
        required=required,
        hipaa=policy.get("hipaa") is True,
        wire=placement,
    )


def read_timeout_min(body: Mapping[str, Any]) -> int:
    """Read `inactiveTimeout`: 0 or missing means never, otherwise 30 to 1440 minutes (400)."""
    minutes = integer(body, "inactiveTimeout", most=1440)
    if minutes is None or minutes == 0:
        return 0
    if minutes < 30:
        raise bad_request(
            f"inactiveTimeout must be 0 or between 30 and 1440 minutes, got {minutes}",
            param="inactiveTimeout",
        )
    return minutes


def concurrency_of(profile: Profile, body: Mapping[str, Any]) -> int:
    """Read `maxConcurrentRequestsPerReplica`, silently capped at the config's limit minus 1."""
    most = profile.concurrency - 1
    given = integer(body, "maxConcurrentRequestsPerReplica", least=0)
    if most <= 0:
        return 0
    if given is None or given == 0:
        return most
    return min(given, most)
