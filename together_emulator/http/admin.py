"""The admin API for tests in another process: bill, journal, clock, faults, capacity.

It is under `/_emulator/`, needs no key, is not journalled, and has no faults.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from together_emulator.http.gateway import BODY
from together_emulator.state.faults import Faults, read_rules
from together_emulator.state.incidents import Incidents
from together_emulator.state.journal import Journal
from together_emulator.state.store import Store


class Admin:
    """The routes under `/_emulator/`."""

    def __init__(
        self, store: Store, *, faults: Faults, journal: Journal, incidents: Incidents
    ) -> None:
        self._store = store
        self._faults = faults
        self._journal = journal
        self._incidents = incidents

    def routes(self) -> list[Route]:
        """Return them all."""
        table: list[tuple[str, str, Callable[[Request, Any], Any]]] = [
            ("GET", "ledger", self._ledger),
            ("GET", "calls", self._calls),
            ("GET", "clock", self._clock),
            ("POST", "clock", self._advance),
            ("POST", "faults", self._replace_faults),
            ("GET", "capacity", self._capacity),
            ("POST", "capacity", self._set_capacity),
            ("GET", "deployments", self._deployments),
            ("POST", "incidents", self._incident),
            ("GET", "settings", self._settings),
            ("POST", "settings", self._change_settings),
        ]
        return [
            Route(f"/_emulator/{name}", _json(handler), methods=[method])
            for method, name, handler in table
        ]

    def _ledger(self, request: Request, body: Any) -> Any:
        """Return the bill until now."""
        del request, body
        return self._store.ledger.statement(self._store.now_s).as_dict()

    def _calls(self, request: Request, body: Any) -> Any:
        """Return the journal, filtered by `method` and `path` (a regular expression)."""
        del body
        method = request.query_params.get("method")
        path = re.compile(request.query_params.get("path", ""))
        return {
            "calls": [
                entry.as_dict()
                for entry in self._journal.entries()
                if method in (None, entry.method) and path.search(entry.path)
            ]
        }

    def _clock(self, request: Request, body: Any) -> Any:
        """Return the emulated time."""
        del request, body
        store = self._store
        return {
            "now_s": store.now_s,
            "time": store.wire_time(store.now_s),
            "speed": store.clock.speed,
        }

    def _advance(self, request: Request, body: Any) -> Any:
        """Advance the clock by `advance_s` emulated seconds."""
        self._store.clock.advance(float(body["advance_s"]))
        self._store.settle()
        return self._clock(request, None)

    def _replace_faults(self, request: Request, body: Any) -> Any:
        """Replace all fault rules by a list of them (or by `rules`)."""
        del request
        rules = read_rules(body)
        self._faults.replace(rules)
        return {"rules": len(rules)}

    def _capacity(self, request: Request, body: Any) -> Any:
        """Return free replicas by instance type and region."""
        del request, body
        return {"capacity": self._store.capacity.snapshot()}

    def _set_capacity(self, request: Request, body: Any) -> Any:
        """Set how many replicas of `hardware` fit (`free`), in `region` or in each."""
        self._store.capacity.set_free(body["hardware"], body.get("region"), int(body["free"]))
        return self._capacity(request, None)

    def _deployments(self, request: Request, body: Any) -> Any:
        """Return all deployments, with each deployment's history of states."""
        del request, body
        store = self._store
        return {
            "deployments": [
                {
                    "id": deployment.id,
                    "endpoint": f"{store.slug}/{store.endpoints[deployment.endpoint_id].name}",
                    "state": deployment.state.value,
                    "served": deployment.served,
                    "in_flight": sum(replica.in_flight for replica in deployment.replicas),
                    "history": [
                        {"at_s": at_s, "state": state.value, "message": message}
                        for at_s, state, message in deployment.history
                    ],
                }
                for deployment in store.deployments.values()
            ]
        }

    def _settings(self, request: Request, body: Any) -> Any:
        """Return the settings, without keys."""
        del request, body
        settings = asdict(self._store.settings)
        return {name: value for name, value in settings.items() if not name.endswith("key")}

    def _change_settings(self, request: Request, body: Any) -> Any:
        """Change fields of the settings."""
        self._store.change(**body)
        return self._settings(request, None)

    def _incident(self, request: Request, body: Any) -> Any:
        """Apply `vanish`, `lose_replica` or `fail_start` to endpoints that match `target`."""
        del request
        target = body.get("target", "")
        match body["action"]:
            case "vanish":
                return {"affected": self._incidents.vanish(target)}
            case "lose_replica":
                return {"affected": self._incidents.lose_replica(target)}
            case "fail_start":
                message = body.get("message", "injected fault")
                return {"affected": self._incidents.fail_start(target, message)}
            case other:
                raise ValueError(f"unknown incident {other!r}")


def _json(handler: Callable[[Request, Any], Any]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        raw = request.scope[BODY]
        try:
            answer, status = handler(request, orjson.loads(raw) if raw else None), 200
        except (KeyError, ValueError, TypeError, AttributeError, re.error) as error:
            answer, status = {"error": f"{type(error).__name__}: {error}"}, 400
        return Response(orjson.dumps(answer), status, media_type="application/json")

    return endpoint
