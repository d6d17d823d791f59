"""A server that follows the API's documentation and yet answers unlike the emulator.

It forwards to an emulator and changes requests and responses, so that the control plane is tested
against documented behaviour and not against one server's implementation.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx

from tests.support.proxy_server import ProxyResponse, ProxyServer


@dataclass(slots=True)
class Exchange:
    """A request and, once it has been answered, its answer; a habit may change either.

    Attributes:
        headers: Of the request, by lower-case name.
        nth: Which request of this method and path it is, from 1.
        answer: JSON, or text that is sent as it is.
    """

    method: str
    path: str
    query: dict[str, str]
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)
    nth: int = 1
    status: int = 200
    answer: Any = None

    @property
    def is_list(self) -> bool:
        """Whether it is answered with a list."""
        return isinstance(self.answer, dict) and isinstance(self.answer.get("data"), list)

    @property
    def objects(self) -> list[dict[str, Any]]:
        """The objects of the answer: a list's entries, or the one there is."""
        if not isinstance(self.answer, dict):
            return []
        return list(self.answer["data"]) if self.is_list else [self.answer]


@dataclass(frozen=True, slots=True)
class Habit:
    """One difference: what it changes in a request before forwarding, and in its response."""

    name: str
    before: Callable[[Exchange], None] = lambda _exchange: None
    after: Callable[[Exchange], None] = lambda _exchange: None


@dataclass(slots=True)
class _Seen:
    counts: dict[tuple[str, str], int] = field(default_factory=dict)

    def count(self, method: str, path: str) -> int:
        self.counts[method, path] = self.counts.get((method, path), 0) + 1
        return self.counts[method, path]


class HabitServer(ProxyServer):
    """An emulator's server with other habits."""

    def __init__(self, behind: str, *habits: Habit) -> None:
        super().__init__()
        self._habits, self._seen = habits, _Seen()
        self._client = httpx.Client(base_url=behind, timeout=20, trust_env=False)

    def respond(
        self, method: str, target: str, body: bytes, headers: Mapping[str, str]
    ) -> ProxyResponse:
        """Forward a request and return its response, both as the habits change them."""
        url = urlsplit(target)
        exchange = Exchange(
            method,
            url.path,
            dict(parse_qsl(url.query)),
            json.loads(body) if body else None,
            headers,
        )
        exchange.nth = self._seen.count(method, url.path)
        for habit in self._habits:
            habit.before(exchange)
        found = self._client.request(
            method,
            f"{url.path}?{urlencode(exchange.query)}",
            headers={"authorization": headers.get("authorization", "")},
            json=exchange.body,
        )
        exchange.status = found.status_code
        exchange.answer = found.json() if found.content else ""
        for habit in self._habits:
            habit.after(exchange)
        if isinstance(exchange.answer, str):
            return ProxyResponse(exchange.status, exchange.answer.encode())
        return ProxyResponse(exchange.status, json.dumps(exchange.answer).encode())

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self._client.close()
