"""A way to a Prefect server on which some calls fail, in a manner that a test chooses."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

EVERYTHING = r"^\w+ (?!/api/health)"
"""All calls but the health check."""

BUSY, PATIENCE = 503, 20
"""The status of a real server whose SQLite is locked by others' writes, and how often it is asked:
clients retry it, but those of these tests do not."""


class FailingPrefect:
    """Which calls fail, and how; the others go to the real server.

    Attributes:
        fails: Pattern of the calls that fail, searched in `METHOD /path BODY`.
        status: Of their responses.
        body: Of their responses.
        cut: Whether to end the connection in the midst of the body.
        port: Where it listens.
    """

    def __init__(self) -> None:
        self.respond(EVERYTHING, 503)
        self.port = 0

    @property
    def api_url(self) -> str:
        """The value for PREFECT_API_URL."""
        return f"http://127.0.0.1:{self.port}/api"

    def respond(self, fails: str, status: int, body: bytes = b"{}", *, cut: bool = False) -> None:
        """Have some calls fail from now on."""
        self.fails, self.status, self.body, self.cut = fails, status, body, cut


@contextmanager
def failing_prefect(api_url: str) -> Iterator[FailingPrefect]:
    """Serve on a free port of loopback, before the Prefect server at `api_url`."""
    state = FailingPrefect()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            """Write nothing."""

        def handle(self) -> None:
            """Serve a connection; how the client ends it does not matter."""
            with suppress(ConnectionError):
                super().handle()

        def answer(self) -> None:
            given = self.rfile.read(int(self.headers.get("content-length", 0)))
            fails = re.search(state.fails, f"{self.command} {self.path} {given.decode()}")
            if fails:
                status, body = state.status, state.body
            else:
                path = self.path.removeprefix("/api")
                kept = {"content-type": self.headers.get("content-type", "application/json")}
                for _ in range(PATIENCE):
                    real = httpx.request(
                        self.command, api_url + path, content=given, headers=kept, timeout=60
                    )
                    if real.status_code != BUSY:
                        break
                    time.sleep(0.5)
                status, body = real.status_code, real.content
            cut = bool(fails and state.cut)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body) + cut))
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = cut

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = answer

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        state.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()
