"""The part of a Hugging Face hub that reading a dataset needs, with test files.

Source: the requests that huggingface_hub 2.4 sends for `HfFileSystem`.
"""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

REPO = "org/name"


class _Hub(ThreadingHTTPServer):
    def __init__(self, files: Mapping[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = files
        self.asked: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append(path)
        if path.startswith(f"/api/datasets/{REPO}/tree/"):
            below = path.partition("/tree/main")[2].strip("/")
            names = [
                name for name in self.server.files if name.startswith(f"{below}/" * bool(below))
            ]
            self._json([self._entry(name) for name in self._with_folders(names, below)])
        elif path.startswith(f"/api/datasets/{REPO}"):
            about = {"id": REPO, "sha": "b" * 40, "private": False, "tags": [], "siblings": []}
            self._json(about)
        else:
            self._content(path.partition("/resolve/main/")[2])

    def do_POST(self) -> None:
        self.server.asked.append(self.path)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        known = self._with_folders(list(self.server.files), "")
        self._json([self._entry(path) for path in body["paths"] if path in known])

    def _with_folders(self, names: list[str], below: str) -> list[str]:
        """Return files and, before them, the folders directly in a folder."""
        start = len(below) + 1 if below else 0
        inner = {name[:start] + name[start:].partition("/")[0] for name in names}
        return [*sorted(inner - set(names)), *names]

    def _entry(self, name: str) -> dict[str, object]:
        if name not in self.server.files:
            return {"type": "directory", "path": name, "oid": "d" * 40}
        return {
            "type": "file",
            "path": name,
            "size": len(self.server.files[name]),
            "oid": "a" * 40,
        }

    def _content(self, name: str) -> None:
        data = self.server.files.get(name)
        wanted = self.headers.get("Range")
        if data is None:
            self._reply(404, b"{}", {"X-Error-Code": "EntryNotFound"})
        elif wanted is None:
            self._reply(200, data, {})
        else:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            part = data[int(first) : int(last) + 1]
            about = {"Content-Range": f"bytes {first}-{last}/{len(data)}"}
            self._reply(206, part, about)

    def _json(self, value: object) -> None:
        self._reply(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _reply(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        del format, args


@contextmanager
def fake_hub(files: Mapping[str, bytes]) -> Iterator[tuple[str, list[str]]]:
    """Serve a dataset while the block lasts; yield the hub's URL and the requested paths."""
    server = _Hub(files)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", server.asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
