"""Object stores over HTTP, each with an empty bucket: moto's S3, and Azurite."""

import logging
import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.wait import wait_until

BUCKET = "bucket"
AZURITE = "azurite@3.37.0"
NPM_OPTIONS = ("--silent", "--no-audit", "--no-fund", "--prefer-offline", "--omit=optional")
AZURITE_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)
"""Of its one account, the same everywhere; source: https://github.com/Azure/Azurite, README."""


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
        # Statuses other than 200 come in colours.
        if found := re.search(r'"(?:\x1b\[[0-9;]*m)*([A-Z]+ \S+) HTTP', record.getMessage()):
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
    # A driver that fsspec keeps for this process asks the server of an earlier test.
    s3fs: Any = pytest.importorskip("s3fs")
    s3fs.S3FileSystem.clear_instance_cache()
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


class AzureServer:
    """Azurite, with a container of that name.

    Attributes:
        env: By which every client finds it.
    """

    def __init__(self, env: dict[str, str], container: Any) -> None:
        self.env, self._container = env, container

    def put(self, name: str, data: bytes) -> None:
        """Upload an object."""
        self._container.upload_blob(name, data)

    def content(self, name: str) -> bytes:
        """Return an object."""
        return bytes(self._container.download_blob(name).readall())

    def names(self, below: str = "") -> set[str]:
        """Return the objects below a prefix."""
        return set(self._container.list_blob_names(name_starts_with=below))


@contextmanager
def azurite() -> Iterator[AzureServer]:
    """Start Azurite, installed by npm once, with an empty container."""
    blobs: Any = pytest.importorskip("azure.storage.blob")
    program = _azurite_program()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [program, "--silent", "--inMemoryPersistence", "--skipApiVersionCheck"]
    process = subprocess.Popen([*command, "--blobPort", str(port)], stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: _listens(port), "Azurite does not listen")
        text = (
            f"DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={AZURITE_KEY};"
            f"BlobEndpoint=http://127.0.0.1:{port}/devstoreaccount1;"
        )
        with blobs.BlobServiceClient.from_connection_string(text) as service:
            container = service.create_container(BUCKET)
            yield AzureServer({"AZURE_STORAGE_CONNECTION_STRING": text}, container)
    finally:
        process.kill()
        process.wait(20)


def _azurite_program() -> str:
    """Return the program of Azurite; skip the test where npm cannot install it."""
    if found := shutil.which("azurite-blob"):
        return found
    # 360 MB that npm takes a minute for: kept where caches are, for the next environment too.
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "mayfly-tests" / AZURITE
    program = folder / "node_modules" / ".bin" / "azurite-blob"
    if not program.exists():
        if shutil.which("npm") is None:
            pytest.skip("no npm, and so no Azurite")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as making:
            command = ["npm", "install", *NPM_OPTIONS, "--prefix", making, AZURITE]
            if subprocess.run(command, check=False, capture_output=True, timeout=300).returncode:
                pytest.skip("npm cannot install Azurite")
            # Where another process has made it meanwhile, that one is as good.
            with suppress(OSError):
                Path(making, "node_modules").rename(_made(folder) / "node_modules")
    return str(program)


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
