"""The event feed of an endpoint.

Source: Together API, GET P/endpoints/{ep}/events: newest first, 50 by default.
"""

from datetime import datetime
from typing import Any

from together_emulator.http.call import Call, listing
from together_emulator.http.errors import bad_request
from together_emulator.http.fields import choice, wrong
from together_emulator.http.filters import page, read_limit
from together_emulator.state.store import Store

_LEVELS = ("LEVEL_DEBUG", "LEVEL_INFO", "LEVEL_WARN", "LEVEL_ERROR")
_KINDS = ("SOURCE_KIND_ENDPOINT", "SOURCE_KIND_DEPLOYMENT")
_QUERY = (
    "deploymentIds",
    "types",
    "sourceKinds",
    "subjectId",
    "minLevel",
    "since",
    "until",
    "limit",
    "after",
)


def list_events(store: Store, call: Call) -> Any:
    """GET P/endpoints/{ep}/events; arrays in the query are comma-separated."""
    call.expect(query=_QUERY)
    endpoint = store.endpoint(call.path["endpoint"])
    feed = [event for event in store.events if event["endpointId"] == endpoint.id]
    ids, kinds = _several(call, "deploymentIds"), _several(call, "sourceKinds")
    known = {event.get("deploymentId") for event in feed}
    for name in ids or ():
        if name not in known:
            raise bad_request(
                f"deploymentIds names {name!r}, which is no deployment of this endpoint",
                param="deploymentIds",
            )
    for kind in kinds or ():
        choice({"sourceKinds": kind}, "sourceKinds", _KINDS)
    types, subject = _several(call, "types"), call.query.get("subjectId")
    level = _LEVELS.index(choice(call.query, "minLevel", _LEVELS) or _LEVELS[0])
    since, until = _time_s(store, call, "since"), _time_s(store, call, "until")

    def wanted(event: dict[str, Any]) -> bool:
        own = event.get("deploymentId") in ids if ids is not None else True
        if ids is not None and event["sourceKind"] == _KINDS[0]:
            own = kinds is not None and _KINDS[0] in kinds
        return (
            own
            and (kinds is None or event["sourceKind"] in kinds)
            and (types is None or event["type"] in types)
            and (subject is None or event.get("subjectId") == subject)
            and _LEVELS.index(event["level"]) >= level
            and (since is None or event["at_s"] >= since)
            and (until is None or event["at_s"] < until)
        )

    # The feed is ordered by time: an event's number is the cursor's key.
    keyed = [
        ((-float(number), event["id"]), event) for number, event in enumerate(feed) if wanted(event)
    ]
    limit = read_limit(call.query.get("limit"), most=10_000)
    data, cursor = page(keyed[::-1], limit=limit, after=call.query.get("after"))
    return listing([_event_json(store, event) for event in data], cursor)


def _event_json(store: Store, event: dict[str, Any]) -> dict[str, Any]:
    wire = {name: value for name, value in event.items() if name != "at_s"}
    return wire | {"createdAt": store.wire_time(event["at_s"])}


def _several(call: Call, name: str) -> list[str] | None:
    text = call.query.get(name)
    return [part for part in text.split(",") if part] if text else None


def _time_s(store: Store, call: Call, name: str) -> float | None:
    text = call.query.get(name)
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
        return (time - store.clock.epoch).total_seconds()
    except (ValueError, TypeError):
        raise wrong(name, "an RFC 3339 time with a zone", text) from None
