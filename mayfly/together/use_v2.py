"""v2's records of an endpoint's use: its analytics and its events.

Source: Together API, `GET …/endpoints/{ep}/analytics` and `…/events`, and together 3.1.
"""

from datetime import UTC, datetime
from typing import Any

from mayfly.models.endpoint import TimeToFirstToken, Use
from mayfly.together.errors import Refused, translated
from mayfly.together.parsing import count, field, items, must_be_json, number, text

_EVENTS = 50

LATENCY_TIMEOUT_S = 5.0
"""Time limit of each wait in the call for a report, in seconds: the delete comes after it."""


def read_use(client: Any, project: str, endpoint_id: str, *, within_s: float, now: float) -> Use:
    """Return what the API has recorded for the last `within_s` seconds.

    Args:
        now: The API's Unix time in seconds, in case its responses do not have it.
    """
    call = f"get the use of {endpoint_id}"
    requests: int | None = None
    gpu: float | None = None
    try:
        whole = _analytics(client, call, project, endpoint_id)
        # Without a period in the request, it ends now by the API's own clock.
        now = _unix(field(field(whole, "time_range"), "end_time")) or now
        start = datetime.fromtimestamp(now - within_s, UTC)
        lately = _analytics(client, call, project, endpoint_id, start_time=start)
    except Refused:
        pass
    else:
        metrics = field(lately, "metrics")
        requests = count(field(metrics, "request_metrics"), "total_requests")
        gpu = number(field(metrics, "resource_utilization"), "gpu_utilization")
    return Use(
        span_s=within_s,
        requests=requests,
        event=_last_event(client, call, project, endpoint_id, since=now - within_s),
        gpu_percent=gpu,
    )


def read_time_to_first_token(client: Any, project: str, endpoint_id: str) -> TimeToFirstToken:
    """Return the percentiles of an endpoint's last 24 hours, which is the API's default."""
    call = f"get the latency of {endpoint_id}"
    found = _analytics(client.with_options(timeout=LATENCY_TIMEOUT_S), call, project, endpoint_id)
    metrics = field(field(found, "metrics"), "latency_metrics")
    p50_s, p90_s, p99_s = (
        None if (ms := number(metrics, f"ttft_p{percent}_ms")) is None else ms / 1000
        for percent in (50, 90, 99)
    )
    return TimeToFirstToken(p50_s=p50_s, p90_s=p90_s, p99_s=p99_s)


def _analytics(client: Any, call: str, project: str, endpoint_id: str, **query: Any) -> Any:
    with translated(call):
        found = client.endpoints.analytics(endpoint_id, project_id=project, **query)
    return must_be_json(call, found)


def _last_event(
    client: Any, call: str, project: str, endpoint_id: str, *, since: float
) -> str | None:
    """Return the type of the newest event since then, "" for none, None if unknown."""
    try:
        with translated(call):
            page = client.endpoints.list_events(endpoint_id, project_id=project, limit=_EVENTS)
        must_be_json(call, page)
    except Refused:
        return None
    # Events of replicas are no sign of use.
    changes = (each for each in items(page, "data") if not text(each, "type").startswith("pod."))
    newest = next(changes, None)
    if newest is None:
        return None
    at = _unix(field(newest, "created_at"))
    if at is None:
        return None
    return (text(newest, "type") or "event") if at >= since else ""


def _unix(value: Any) -> float | None:
    """Return Unix time from an RFC 3339 text or the SDK's value; None if it is neither."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
