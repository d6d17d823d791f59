"""A server on loopback in front of an emulator with odd replies to marked prompts.

A prompt with `@mark@` gets the reply of that mark; `@storm@` is refused with 429 for some seconds
from the first one on, and `@retry-after@` once, with that header. All other requests are forwarded.
"""

import http.client
import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson

from tests.support.proxy_server import ProxyResponse, ProxyServer

CALL = {
    "id": "call_1",
    "index": 0,
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Turku"}'},
}
FORWARDED = ("content-type", "authorization")


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


class MarkedPromptServer(ProxyServer):
    """Replies to marked prompts by itself and forwards all other requests.

    Attributes:
        bodies: Of the inference requests that were received, in order.
    """

    def __init__(self, behind: str, *, storm_s: float = 1.5, retry_after: str = "1") -> None:
        super().__init__()
        self._behind = urlsplit(behind).netloc
        self._storm_s, self._retry_after = storm_s, retry_after
        self._storm_ends: float | None = None
        self._retry_after_sent = False
        self._lock = threading.Lock()
        self.bodies: list[Any] = []

    def respond(
        self, method: str, target: str, body: bytes, headers: Mapping[str, str]
    ) -> ProxyResponse:
        """Reply to a marked prompt, or forward the request."""
        if method == "POST" and target.startswith("/v1/"):
            with self._lock:
                self.bodies.append(orjson.loads(body))
                if (refusal := self._refusal(body)) is not None:
                    return refusal
            for mark, data in REPLIES.items():
                if mark in body:
                    return ProxyResponse(200, data)
        behind = http.client.HTTPConnection(self._behind, timeout=60)
        try:
            forwarded = {name: headers[name] for name in FORWARDED if headers.get(name)}
            behind.request(method, target, body or None, forwarded)
            found = behind.getresponse()
            return ProxyResponse(found.status, found.read())
        finally:
            behind.close()

    def requests_with(self, mark: str) -> int:
        """Return how many requests had a mark."""
        with self._lock:
            return sum(mark in str(body) for body in self.bodies)

    def _refusal(self, body: bytes) -> ProxyResponse | None:
        now = time.monotonic()
        if b"@storm@" in body:
            if self._storm_ends is None:
                self._storm_ends = now + self._storm_s
            if now < self._storm_ends:
                return ProxyResponse(429, b'{"error": {"message": "engine overloaded"}}')
        if b"@retry-after@" in body and not self._retry_after_sent:
            self._retry_after_sent = True
            headers = {"retry-after": self._retry_after}
            return ProxyResponse(429, b'{"error": {"message": "slow down"}}', headers)
        return None
