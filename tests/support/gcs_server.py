"""The part of Google Cloud Storage's XML API that mayfly uses, over HTTP, in memory.

No package brings a server that takes conditional writes by this API: fake-gcs-server refuses a PUT
without `uploadType`, gcp-storage-emulator ignores the condition. Requests of the JSON API, by which
gcsfs reads inputs, are passed on to gcp-storage-emulator. Source:
https://cloud.google.com/storage/docs/xml-api/overview, "PUT object", "Preconditions",
"Multipart uploads" and "GET bucket".
"""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

import pytest

BUCKET = "bucket"
_JSON_API = ("/storage/v1/", "/download/storage/v1/", "/upload/storage/v1/", "/b/")


class _Object(NamedTuple):
    data: bytes
    generation: int
    modified: datetime

    @property
    def e_tag(self) -> str:
        return f'"{hashlib.md5(self.data, usedforsecurity=False).hexdigest()}"'


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    objects: dict[str, _Object]
    uploads: dict[str, dict[int, bytes]]
    lock: threading.Lock
    json_port: int

    def do_PUT(self) -> None:
        name, query = self._asked()
        data = self.rfile.read(int(self.headers.get("content-length", 0)))
        with self.lock:
            if "uploadId" in query:
                self.uploads[query["uploadId"]][int(query["partNumber"])] = data
                return self._reply(200, {"etag": f'"{query["partNumber"]}"'})
            there = self.objects.get(name)
            wanted = self.headers.get("x-goog-if-generation-match")
            if wanted is not None and int(wanted) != (there.generation if there else 0):
                return self._reply(412)
            return self._keep(name, data)

    def do_POST(self) -> None:
        if self.path.startswith(_JSON_API):
            return self._pass_on()
        name, query = self._asked()
        self.rfile.read(int(self.headers.get("content-length", 0)))
        with self.lock:
            if "uploads" in query:
                upload = str(len(self.uploads))
                self.uploads[upload] = {}
                body = (
                    f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId>"
                    "</InitiateMultipartUploadResult>"
                )
                return self._reply(200, body=body.encode())
            parts = self.uploads.pop(query["uploadId"])
            found = self._stored(name, b"".join(parts[number] for number in sorted(parts)))
            body = (
                "<CompleteMultipartUploadResult>"
                f"<ETag>{escape(found.e_tag)}</ETag></CompleteMultipartUploadResult>"
            )
            headers = {"x-goog-generation": str(found.generation)}
            return self._reply(200, headers, body.encode())

    def do_GET(self) -> None:
        if self.path.startswith(_JSON_API):
            return self._pass_on()
        name, query = self._asked()
        with self.lock:
            if not name:
                return self._list(query.get("prefix", ""))
            found = self.objects.get(name)
        if found is None:
            return self._reply(404)
        return self._reply(200, _headers(found), found.data)

    do_HEAD = do_GET

    def do_DELETE(self) -> None:
        name, _ = self._asked()
        with self.lock:
            self._reply(204 if self.objects.pop(name, None) else 404)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    def _pass_on(self) -> None:
        sent = {"Range": found} if (found := self.headers.get("Range")) else {}
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        with closing(HTTPConnection("127.0.0.1", self.json_port, 20)) as to:
            to.request(self.command, self.path, body or None, sent)
            answer = to.getresponse()
            taken = ("content-type", "content-range", "etag")
            headers = {name: value for name in taken if (value := answer.headers.get(name))}
            self._reply(answer.status, headers, answer.read())

    def _asked(self) -> tuple[str, dict[str, str]]:
        address = urlsplit(self.path)
        query = parse_qs(address.query, keep_blank_values=True)
        name = unquote(address.path.removeprefix(f"/{BUCKET}").removeprefix("/"))
        return name, {key: values[0] for key, values in query.items()}

    def _keep(self, name: str, data: bytes) -> None:
        self._reply(200, _headers(self._stored(name, data)))

    def _stored(self, name: str, data: bytes) -> _Object:
        there = self.objects.get(name)
        now = datetime.now(UTC)
        self.objects[name] = _Object(data, there.generation + 1 if there else 1, now)
        return self.objects[name]

    def _list(self, prefix: str) -> None:
        entries = "".join(
            f"<Contents><Key>{escape(name)}</Key><Size>{len(one.data)}</Size>"
            f"<ETag>{escape(one.e_tag)}</ETag>"
            f"<LastModified>{one.modified.strftime('%Y-%m-%dT%H:%M:%S.000Z')}</LastModified>"
            "</Contents>"
            for name, one in sorted(self.objects.items())
            if name.startswith(prefix)
        )
        self._reply(200, body=f"<ListBucketResult>{entries}</ListBucketResult>".encode())

    def _reply(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _headers(found: _Object) -> dict[str, str]:
    return {
        "etag": found.e_tag,
        "x-goog-generation": str(found.generation),
        "last-modified": format_datetime(found.modified, usegmt=True),
    }


class GcsServer:
    """A server of GCS in this process.

    Attributes:
        env: By which every client finds it.
    """

    def __init__(self, port: int, objects: dict[str, _Object], json_port: int) -> None:
        self.env = {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}"}
        self._objects, self._json_port = objects, json_port

    def put(self, name: str, data: bytes) -> None:
        """Upload an object that the JSON API has, for use as an input."""
        with closing(HTTPConnection("127.0.0.1", self._json_port, 20)) as to:
            address = f"/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={quote(name)}"
            to.request("POST", address, data, {"content-type": "application/octet-stream"})
            assert to.getresponse().status == 200

    def age(self, name: str, seconds: float) -> None:
        """Make an object look as if it had been written so much earlier, by the server's clock."""
        found = self._objects[name]
        self._objects[name] = found._replace(modified=found.modified - timedelta(seconds=seconds))

    def content(self, name: str) -> bytes:
        """Return an object of the XML API."""
        return self._objects[name].data

    def names(self, below: str = "") -> set[str]:
        """Return the objects of the XML API below a prefix."""
        return {name for name in list(self._objects) if name.startswith(below)}


@contextmanager
def gcs_server() -> Iterator[GcsServer]:
    """Start a server with an empty bucket."""
    emulator: Any = pytest.importorskip("gcp_storage_emulator.server")
    json_api = emulator.create_server("127.0.0.1", 0, in_memory=True, default_bucket=BUCKET)
    json_api.start()
    json_port = json_api._api._httpd.socket.getsockname()[1]
    state = {"objects": {}, "uploads": {}, "lock": threading.Lock(), "json_port": json_port}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), state))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    objects: Any = state["objects"]
    try:
        yield GcsServer(server.server_address[1], objects, json_port)
    finally:
        server.shutdown()
        server.server_close()
        json_api.stop()
