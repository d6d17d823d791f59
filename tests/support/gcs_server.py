"""The part of Google Cloud Storage's XML API that mayfly uses, over HTTP, in memory.

No package brings a server that takes conditional writes by this API: fake-gcs-server refuses a PUT
without `uploadType`, gcp-storage-emulator has the JSON API alone. Source:
https://cloud.google.com/storage/docs/xml-api/overview, "PUT object", "Preconditions",
"Multipart uploads" and "GET bucket".
"""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

BUCKET = "bucket"


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


@contextmanager
def gcs_server() -> Iterator[dict[str, str]]:
    """Start a server with an empty bucket; yield the environment by which it is found."""
    state = {"objects": {}, "uploads": {}, "lock": threading.Lock()}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), state))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{server.server_address[1]}"}
    finally:
        server.shutdown()
        server.server_close()
