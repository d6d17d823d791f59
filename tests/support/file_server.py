"""A file server with a delay that counts requests and bytes."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote


@dataclass
class FileServer:
    """Requests that a server received.

    Attributes:
        url: Of the folder, with a slash at the end.
        requests: Method and path of each, in order of arrival.
        sent: Bytes of bodies.
        queries: What came after the `?` of each.
    """

    url: str = ""
    requests: list[tuple[str, str]] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)
    sent: int = 0

    def forget(self) -> None:
        """Count from nothing."""
        self.requests.clear()
        self.sent = 0


class _Server(ThreadingHTTPServer):
    request_queue_size = 128

    def __init__(self, folder: Path, delay_s: float, *, ranges: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.delay_s = delay_s
        self.ranges = ranges
        self.seen = FileServer(url=f"http://127.0.0.1:{self.server_address[1]}/")
        self.lock = threading.Lock()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        with self.server.lock:
            self.server.seen.requests.append((self.command, path))
            self.server.seen.queries.append(query)
            self.server.seen.authorizations.append(self.headers.get("Authorization", ""))
        time.sleep(self.server.delay_s)
        target = self.server.folder / unquote(path).lstrip("/")
        if target.is_dir():
            self._reply(200, _page(target), {"Content-Type": "text/html"})
        elif target.exists():
            self._file(target)
        else:
            self._reply(404, b"not here", {})

    def _file(self, target: Path) -> None:
        data = target.read_bytes()
        about = {"ETag": f'"{target.stat().st_mtime_ns}"'}
        wanted = self.headers.get("Range") if self.server.ranges else None
        if self.headers.get("If-None-Match") == about["ETag"]:
            self._reply(304, b"", about)
        elif wanted is None:
            self._reply(200, data, about)
        else:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last) + 1, len(data))
            about["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
            self._reply(206 if start < len(data) else 416, data[start:end], about)

    def _reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)
            with self.server.lock:
                self.server.seen.sent += len(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        del format, args


@contextmanager
def serving(folder: Path, *, delay_s: float = 0.0, ranges: bool = True) -> Iterator[FileServer]:
    """Serve a folder on loopback while the block lasts."""
    server = _Server(folder, delay_s, ranges=ranges)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _page(folder: Path) -> bytes:
    names = sorted(child.name + "/" * child.is_dir() for child in folder.iterdir())
    return "".join(f'<a href="{name}">{name}</a>\n' for name in names).encode()
