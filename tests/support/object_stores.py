"""Object stores over HTTP: moto's S3, Azurite and fake-gcs-server, each with an empty bucket."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

BUCKET = "bucket"


@dataclass
class S3Server:
    """A server of S3 in this process.

    Attributes:
        env: By which every client finds it.
        port: It listens on 127.0.0.1.
        requests: Method and path of what it was sent, in order.
    """

    env: dict[str, str]
    port: int
    requests: list[str] = field(default_factory=list)

    def age(self, name: str, seconds: float) -> None:
        """Make an object look as if it had been written so much earlier, by the server's clock."""
        self._object(name).last_modified -= timedelta(seconds=seconds)

    def content(self, name: str) -> bytes:
        """Return an object."""
        content: bytes = self._object(name).value
        return content

    def names(self, below: str = "") -> set[str]:
        """Return the objects below a prefix."""
        return {name for name in self._bucket.keys if name.startswith(below)}

    def _object(self, name: str) -> Any:
        return self._bucket.keys[name]

    @property
    def _bucket(self) -> Any:
        models: Any = pytest.importorskip("moto.s3.models")
        return models.s3_backends["123456789012"]["aws"].buckets[BUCKET]


class _Requests(logging.Handler):
    def __init__(self, requests: list[str]) -> None:
        super().__init__()
        self._requests = requests

    def emit(self, record: logging.LogRecord) -> None:
        if found := re.search(r'"([A-Z]+ \S+) HTTP', record.getMessage()):
            self._requests.append(found.group(1))


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Start a server with an empty bucket."""
    moto: Any = pytest.importorskip("moto.server")
    obstore: Any = pytest.importorskip("obstore")
    assert obstore
    threaded = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    threaded.start()
    _, port = threaded.get_host_and_port()
    names = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "secret-of-the-store",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
    }
    models: Any = pytest.importorskip("moto.s3.models")
    models.s3_backends["123456789012"]["aws"].reset()
    models.s3_backends["123456789012"]["aws"].create_bucket(BUCKET, "us-east-1")
    server = S3Server(names, port)
    logger, handler = logging.getLogger("werkzeug"), _Requests(server.requests)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield server
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        threaded.stop()
