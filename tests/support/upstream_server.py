"""An OpenAI-compatible server without a model, for an emulator in upstream mode."""

import json
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler
from typing import Any

HANGS = 408
"""The seed of a request that the server behind never answers; it notes when its client goes."""


USAGE = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}


class UpstreamHandler(BaseHTTPRequestHandler):
    """Answers as llama.cpp does, without a model."""

    seen: list[dict[str, Any]]
    listed: Sequence[str] = ("tiny.gguf",)
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        data = [{"id": name, "object": "model"} for name in self.listed]
        self._answer({"object": "list", "data": data})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.seen.append({"path": self.path, "auth": self.headers["authorization"], **body})
        if body.get("seed") == HANGS:
            self._wait_for_the_client_to_go(streams=bool(body.get("stream")))
        elif body.get("seed") == 429:
            self._answer({"error": {"message": "slot busy", "code": "busy"}}, 429)
        elif body.get("seed") == 500:
            self._answer(["not", "an", "object"])
        elif body.get("stream"):
            self._stream("text" if "prompt" in body else "delta")
        elif "input" in body:
            data = [{"object": "embedding", "index": 0, "embedding": [0.6, 0.8]}]
            self._answer({"object": "list", "model": "tiny.gguf", "data": data})
        else:
            self._answer(self._whole(chat="messages" in body))

    def _wait_for_the_client_to_go(self, *, streams: bool) -> None:
        if streams:
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            self.wfile.flush()
        self.connection.settimeout(20)
        self.seen[-1]["dropped"] = self.connection.recv(1) == b""
        self.close_connection = True

    def _whole(self, *, chat: bool) -> dict[str, Any]:
        said = {"message": {"role": "assistant", "content": "Hello there."}} if chat else {}
        return {
            "id": "cmpl-1",
            "object": "chat.completion" if chat else "text_completion",
            "created": 1,
            "model": "tiny.gguf",
            "choices": [{"index": 0, "finish_reason": "stop", "text": "Hello there.", **said}],
            "usage": USAGE,
        }

    def _stream(self, kind: str) -> None:
        parts: list[dict[str, Any]] = []
        for word in ("Hel", "lo"):
            said: Any = {"content": word} if kind == "delta" else word
            parts.append({"choices": [{"index": 0, kind: said, "finish_reason": None}]})
        last: Any = {} if kind == "delta" else ""
        parts.append({"choices": [{"index": 0, kind: last, "finish_reason": "stop"}]})
        parts.append({"choices": [], "usage": USAGE})
        name = "chat.completion.chunk" if kind == "delta" else "text_completion"
        head = {"id": "x", "object": name, "created": 1, "model": "tiny.gguf"}
        events = [f"data: {json.dumps(head | part)}\n\n" for part in parts]
        self._send("".join([*events, "data: [DONE]\n\n"]).encode(), 200, "text/event-stream")

    def _answer(self, value: Any, status: int = 200) -> None:
        self._send(json.dumps(value).encode(), status, "application/json")

    def _send(self, raw: bytes, status: int, kind: str) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)
