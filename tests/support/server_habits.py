"""Habits that a server may have within the API's documentation; see `habit_server.py`."""

from typing import Any

from tests.support.habit_server import Exchange, Habit

LAGGING = 1_000
"""Lists of deployments that show none yet; more than a lifecycle asks for."""

_PAGED = ("/endpoints", "/deployments", "/supported-models", "/configs")


def texts(value: Any) -> Any:
    """Return JSON with every whole number as text, as int64s are on this wire."""
    if isinstance(value, dict):
        return {key: texts(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [texts(entry) for entry in value]
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _numbers_are_text(exchange: Exchange) -> None:
    if exchange.status == 200:
        exchange.answer = texts(exchange.answer)


def _small_pages(exchange: Exchange) -> None:
    paged = exchange.path.startswith("/v2/") and exchange.path.endswith(_PAGED)
    if exchange.method == "GET" and paged:
        exchange.query["limit"] = "1"


def _filter_is_ignored(exchange: Exchange) -> None:
    exchange.query.pop("filter", None)


def _filter_wants_the_slug(exchange: Exchange) -> None:
    if '"' in exchange.query.get("filter", "") and "/" not in exchange.query["filter"]:
        exchange.query["filter"] = 'name="nothing-has-this-name"'


def _filter_is_refused(exchange: Exchange) -> None:
    if "filter" in exchange.query:
        exchange.query["filter"] = "name =="


def _search_is_ignored(exchange: Exchange) -> None:
    exchange.query.pop("search", None)


def _search_finds_by_family(exchange: Exchange) -> None:
    """A search that returns every name with the same prefix."""
    if search := exchange.query.get("search"):
        exchange.query["search"] = search[:4]


NEEDED = {
    "id", "name", "data", "next_cursor", "status", "state", "trafficSplit", "deploymentId",
    "weight", "deploymentProfiles", "config", "model", "certifiedConfigRevisionId", "selectors",
    "key", "value", "priceCentsPerHour", "project", "gpuType", "gpuCount",
    # v1
    "display_name", "hardware", "pricing", "cents_per_minute", "type", "availability",
}  # fmt: skip


def _bare(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _bare(entry) for key, entry in value.items() if key in NEEDED}
    return [_bare(entry) for entry in value] if isinstance(value, list) else value


def _optionals_are_missing(exchange: Exchange) -> None:
    if exchange.status == 200:
        exchange.answer = _bare(exchange.answer)


def _extra_states(exchange: Exchange) -> None:
    """Undocumented states between the known ones."""
    new = {"DEPLOYMENT_STATE_SCALING": "DEPLOYMENT_STATE_WARMING_UP", "STARTING": "LOADING"}
    for found in exchange.objects:
        for holder in (found, found.get("status")):
            if isinstance(holder, dict) and holder.get("state") in new:
                holder["state"] = new[holder["state"]]


def _headroom_without_value(exchange: Exchange) -> None:
    for kind in exchange.objects if "instance-types" in exchange.path else []:
        for number, region in enumerate(kind["regions"]):
            region["headroom"] = {"relation": ("RELATION_GTE", "RELATION_EQ")[number % 2]}


def _no_headroom(exchange: Exchange) -> None:
    for kind in exchange.objects if "instance-types" in exchange.path else []:
        for region in kind["regions"]:
            region.pop("headroom", None)


def _other_gpu_names(exchange: Exchange) -> None:
    for model in exchange.objects if "supported-models" in exchange.path else []:
        for profile in model["deploymentProfiles"]:
            profile["gpuType"] = f"NVIDIA {profile['gpuType']} SXM5"


def _other_selectors(exchange: Exchange) -> None:
    """Configs that say more than the hardware, in another order, and spell it otherwise."""
    for config in exchange.objects if "/configs/" in exchange.path else []:
        for selector in config["selectors"]:
            if selector["key"] == "accelerator_type":
                selector["value"] = f"{selector['value'].upper()}-SXM"
        config["selectors"].insert(0, {"key": "optimization_profile", "value": "throughput"})
        config["selectors"].append({"key": "engine", "value": "vllm"})


def _no_hardware_selectors(exchange: Exchange) -> None:
    for config in exchange.objects if "/configs/" in exchange.path else []:
        config["selectors"] = [{"key": "optimization_profile", "value": "latency"}]


def _empty_weights_stay(exchange: Exchange) -> None:
    """A traffic split that keeps what has no weight."""
    if exchange.path.rsplit("/", 1)[-1].startswith("ep_"):
        for endpoint in exchange.objects:
            endpoint.setdefault("trafficSplit", [])
            endpoint["trafficSplit"] += [{"deploymentId": "dep_of_old", "weight": 0}]


def _deletes_have_no_body(exchange: Exchange) -> None:
    if exchange.method == "DELETE" and exchange.status < 300:
        exchange.status, exchange.answer = 200, ""


def _deletes_answer_with_an_object(exchange: Exchange) -> None:
    if exchange.method == "DELETE" and exchange.status < 300:
        exchange.status, exchange.answer = 200, {"deleted": True}


def _deployment_list_lags(exchange: Exchange) -> None:
    """A list that has a new deployment only after a while, as one from another replica does."""
    if exchange.is_list and exchange.path.endswith("/deployments") and exchange.nth <= LAGGING:
        exchange.answer = {"object": "list", "data": [], "next_cursor": None}


def _revisions_have_no_names(exchange: Exchange) -> None:
    for revision in exchange.objects if exchange.path.endswith("/revisions") else []:
        revision["id"] = revision.pop("revisionId")


def _rpc_errors(exchange: Exchange) -> None:
    if exchange.status >= 400 and isinstance(exchange.answer, dict):
        words = exchange.answer["error"]["message"]
        exchange.answer = {"code": 5, "message": words, "details": [{"detail": words}]}


def _first_writes_conflict(exchange: Exchange) -> None:
    if exchange.method in ("PATCH", "DELETE") and exchange.nth == 1:
        exchange.status, exchange.answer = 409, {"error": {"message": "etag does not match"}}


def _reads_are_throttled(exchange: Exchange) -> None:
    if exchange.method == "GET" and exchange.nth % 3 == 0:
        exchange.status, exchange.answer = 429, {"error": {"message": "slow down"}}


def _lists_say_more(exchange: Exchange) -> None:
    """v1's list with fields of the whole object, or anything else that is new."""
    for found in exchange.objects:
        found["brandNew"] = {"of": ["some", 1]}
        found["tier"] = None


HABITS = {
    habit.name: habit
    for habit in (
        Habit("numbers are text", after=_numbers_are_text),
        Habit("pages of one", before=_small_pages),
        Habit("a filter is ignored", before=_filter_is_ignored),
        Habit("a filter's name has the slug", before=_filter_wants_the_slug),
        Habit("a filter is refused", before=_filter_is_refused),
        Habit("a search is ignored", before=_search_is_ignored),
        Habit("a search finds several", before=_search_finds_by_family),
        Habit("what is optional is missing", after=_optionals_are_missing),
        Habit("states that are new", after=_extra_states),
        Habit("headroom without a value", after=_headroom_without_value),
        Habit("no headroom", after=_no_headroom),
        Habit("GPUs of other names", after=_other_gpu_names),
        Habit("selectors of other names", after=_other_selectors),
        Habit("selectors without hardware", after=_no_hardware_selectors),
        Habit("weights of nothing stay", after=_empty_weights_stay),
        Habit("deletions without a body", after=_deletes_have_no_body),
        Habit("deletions with an object", after=_deletes_answer_with_an_object),
        Habit("the list of deployments lags", after=_deployment_list_lags),
        Habit("revisions without names", after=_revisions_have_no_names),
        Habit("errors as RPC has them", after=_rpc_errors),
        Habit("the first write conflicts", after=_first_writes_conflict),
        Habit("reads are throttled", after=_reads_are_throttled),
        Habit("more than was known", after=_lists_say_more),
    )
}
