"""A server that keeps to the API's page and yet answers unlike the emulator.

It stands before an emulator and changes what goes through, so that the control plane is held to
what is written down and not to what one server happens to do.
"""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx


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
    """One way to differ: what is done to a request before it is passed on, and to its answer."""

    name: str
    before: Callable[[Exchange], None] = lambda _exchange: None
    after: Callable[[Exchange], None] = lambda _exchange: None


@dataclass(slots=True)
class _Seen:
    counts: dict[tuple[str, str], int] = field(default_factory=dict)

    def count(self, method: str, path: str) -> int:
        self.counts[method, path] = self.counts.get((method, path), 0) + 1
        return self.counts[method, path]


class OtherServer:
    """A server on loopback with habits of its own; a context manager."""

    def __init__(self, behind: str, *habits: Habit) -> None:
        self._behind, self._habits, self._seen = behind, habits, _Seen()
        self._client = httpx.Client(base_url=behind, timeout=20, trust_env=False)
        other = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # One segment for head and body: two of them wait for each other.
            wbufsize = -1
            disable_nagle_algorithm = True

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except ConnectionError:
                    self.close_connection = True

            def log_message(self, *_args: object) -> None:
                pass

            def answer(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                raw = self.rfile.read(length)
                headers = {name.lower(): value for name, value in self.headers.items()}
                status, data = other.pass_on(self.command, self.path, raw, headers)
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PATCH = do_DELETE = answer

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    def pass_on(
        self, method: str, target: str, raw: bytes, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        """Send a request on and return status and body of its answer, as the habits have it."""
        url = urlsplit(target)
        exchange = Exchange(
            method,
            url.path,
            dict(parse_qsl(url.query)),
            json.loads(raw) if raw else None,
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
            return exchange.status, exchange.answer.encode()
        return exchange.status, json.dumps(exchange.answer).encode()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
        self._client.close()
