"""A server on loopback before an emulator that answers marked prompts oddly, as servers have done.

A prompt with `@mark@` gets the reply of that mark; `@storm@` is turned away for some seconds from
the first one on, and `@retry-after@` once, with that header. All else is passed on.
"""

import http.client
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

import orjson

CALL = {
    "id": "call_1",
    "index": 0,
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Turku"}'},
}
PASSED_ON = ("content-type", "authorization")


def reply(finish: Any = "stop", usage: Any = None, **message: Any) -> bytes:
    """Return the body of a chat completion."""
    usage = usage or {"prompt_tokens": 7, "completion_tokens": 30, "total_tokens": 37}
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", **message}}
    return orjson.dumps({"id": "x", "prompt": [], "choices": [choice], "usage": usage})


REPLIES = {
    b"@usage-text@": reply(content="use", usage={"prompt_tokens": "7", "completion_tokens": "3"}),
    b"@finish-number@": reply(2, content="fin"),
    b"@thinking@": reply(content="4", reasoning="2 and 2 are 4"),
    b"@thinking-cut@": reply("length", content="", reasoning="let me see ..."),
    b"@tool-call@": reply("tool_calls", content="", tool_calls=[CALL]),
    b"@refusal@": reply(content=None, refusal="I cannot help with that."),
    b"@half-pair@": reply(content="smile @@ cut").replace(b"@@", b"\\ud83d"),
    b"@fenced@": reply(content='```json\n{"answer": "4"}\n```'),
    b"@thought-first@": reply(content='<think>two</think>{"answer": "4"}'),
}


class OddServer:
    """Stands before an emulator; a context manager.

    Attributes:
        bodies: Of the inference requests that came, in order.
    """

    def __init__(self, behind: str, *, storm_s: float = 1.5, retry_after: str = "1") -> None:
        self._behind = urlsplit(behind).netloc
        self._storm_s, self._retry_after = storm_s, retry_after
        self._storm_ends: float | None = None
        self._asked_to_wait = False
        self._lock = threading.Lock()
        self.bodies: list[Any] = []
        odd = self

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
                raw = self.rfile.read(int(self.headers.get("content-length") or 0))
                headers = {name: self.headers[name] for name in PASSED_ON if self.headers.get(name)}
                status, more, data = odd.answer(self.command, self.path, raw, headers)
                self.send_response(status)
                for name, value in more.items():
                    self.send_header(name, value)
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

    def answer(
        self, method: str, path: str, raw: bytes, headers: dict[str, str]
    ) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of the answer to a request."""
        if method == "POST" and path.startswith("/v1/"):
            with self._lock:
                self.bodies.append(orjson.loads(raw))
                if (refusal := self._refusal(raw)) is not None:
                    return refusal
            for mark, data in REPLIES.items():
                if mark in raw:
                    return 200, {}, data
        behind = http.client.HTTPConnection(self._behind, timeout=60)
        try:
            behind.request(method, path, raw or None, headers)
            found = behind.getresponse()
            return found.status, {}, found.read()
        finally:
            behind.close()

    def asked(self, mark: str) -> int:
        """Return how many requests had a mark."""
        with self._lock:
            return sum(mark in str(body) for body in self.bodies)

    def _refusal(self, raw: bytes) -> tuple[int, dict[str, str], bytes] | None:
        now = time.monotonic()
        if b"@storm@" in raw:
            if self._storm_ends is None:
                self._storm_ends = now + self._storm_s
            if now < self._storm_ends:
                return 429, {}, b'{"error": {"message": "engine overloaded"}}'
        if b"@retry-after@" in raw and not self._asked_to_wait:
            self._asked_to_wait = True
            return 429, {"retry-after": self._retry_after}, b'{"error": {"message": "slow down"}}'
        return None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
