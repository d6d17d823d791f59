"""A prefix of a bucket: S3, Google Cloud Storage or Azure Blob Storage, with conditional writes.

obstore supports all three. Source for the conditions: https://developmentseed.org/obstore,
`put` with `mode`: If-None-Match and If-Match on S3 and Azure, x-goog-if-generation-match on GCS.
"""

import io
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from mayfly.models.errors import BadRequest
from mayfly.storage.output_location import store_uri
from mayfly.storage.uri_credentials import ENVIRON

REQUEST_S = 60.0
"""Time limit of one request, including its body."""

RETRIES = 3
RETRY_S = 30.0
"""Time after its first attempt beyond which a request is not retried."""

MAX_REASON_CHARS = 220


class StoreError(OSError):
    """An operation of the store failed; `strerror` says why in one line."""

    def __init__(self, reason: str, *, denied: bool = False) -> None:
        super().__init__(0, reason)
        self.denied = denied

    def __str__(self) -> str:
        return str(self.strerror)


class Version(NamedTuple):
    """Version of an object's content, as its store identifies it."""

    e_tag: str | None
    version: str | None


class Stored(NamedTuple):
    """Metadata of an object, from a listing or a read.

    Attributes:
        modified: By the store's clock.
    """

    size: int
    version: Version
    modified: datetime


class Listing(dict[str, Stored]):
    """The objects below a prefix, by their relative names."""


class ObjectStore:
    """The objects below one prefix; every call has a time limit and raises `StoreError`.

    Attributes:
        uri: As the user gave it.
    """

    def __init__(self, uri: str, store: Any) -> None:
        self.uri = uri
        self._store = store

    def list(self, below: str = "") -> Listing:
        """Return the objects below the prefix, or below a folder in it; a request per 1,000."""
        found = Listing()
        with _one_line(self.uri):
            for chunk in self._obstore.list(self._store, below or None):
                for one in chunk:
                    found[one["path"]] = _stored(one)
        return found

    def read(self, name: str) -> tuple[bytes, Stored] | None:
        """Return an object, or None if there is none."""
        with _one_line(self.uri):
            try:
                result = self._obstore.get(self._store, name)
                return bytes(result.bytes()), _stored(result.meta)
            except (FileNotFoundError, self._errors.NotFoundError):
                return None

    def download(self, name: str, path: Path) -> Version:
        """Download an object to a file, holding a few MB in memory."""
        with _one_line(self.uri), path.open("wb") as file:
            result = self._obstore.get(self._store, name)
            for chunk in result.stream(min_chunk_size=4 * 2**20):
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
            return _stored(result.meta).version

    def opened(self, name: str) -> "RangeReader":
        """Open an object for reading by ranges: a request for each read."""
        with _one_line(self.uri):
            size = int(self._obstore.head(self._store, name)["size"])

        def read(start: int, end: int) -> bytes:
            with _one_line(self.uri):
                return bytes(self._obstore.get_range(self._store, name, start=start, end=end))

        return RangeReader(read, size)

    def write(self, name: str, data: bytes | Path) -> Version:
        """Write an object, replacing its content; a large file takes several requests."""
        with _one_line(self.uri):
            if isinstance(data, bytes):
                return _version(self._obstore.put(self._store, name, data))
            with data.open("rb") as file:
                return _version(self._obstore.put(self._store, name, file))

    def create(self, name: str, data: bytes) -> Version | None:
        """Create an object; None if it exists already."""
        return self._put_if(name, data, "create")

    def replace(self, name: str, data: bytes, version: Version) -> Version | None:
        """Replace exactly this version of an object; None if it has another."""
        mode = {key: value for key, value in version._asdict().items() if value is not None}
        return self._put_if(name, data, mode)

    def remove(self, name: str) -> None:
        """Remove an object, if it exists."""
        with _one_line(self.uri):
            try:
                self._obstore.delete(self._store, name)
            except (FileNotFoundError, self._errors.NotFoundError):
                return

    def _put_if(self, name: str, data: bytes, mode: Any) -> Version | None:
        with _one_line(self.uri):
            try:
                return _version(self._obstore.put(self._store, name, data, mode=mode))
            except (self._errors.AlreadyExistsError, self._errors.PreconditionError):
                # After a lost response the request is retried, and conflicts with itself.
                if (found := self.read(name)) is not None and found[0] == data:
                    return found[1].version
                return None
            except (FileNotFoundError, self._errors.NotFoundError):
                if mode == "create":
                    raise
                return None

    @property
    def _obstore(self) -> Any:
        import obstore  # noqa: PLC0415 - an extra

        return obstore

    @property
    def _errors(self) -> Any:
        return self._obstore.exceptions


class RangeReader(io.RawIOBase):
    """A file object that reads ranges through a function, without buffering."""

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        self._read, self._size = read, size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence] + offset
        return self._at

    def read(self, size: int = -1) -> bytes:
        end = self._size if size is None or size < 0 else min(self._at + size, self._size)
        if end <= self._at:
            return b""
        data = self._read(self._at, end)
        self._at += len(data)
        return data


def open_store(output: str, environ: Mapping[str, str] = ENVIRON) -> ObjectStore:
    """Return the store of an output, without accessing it.

    Args:
        output: `--output`, a URI.
        environ: Has the credentials, under the names of the stores' own tools.

    Raises:
        BadRequest: A package is missing, or the URI or the environment cannot be used.
    """
    uri = store_uri(output)
    protocol = uri.partition("://")[0]
    extra = {"s3": "s3", "gs": "gcs"}.get(protocol, "azure")
    try:
        from obstore import store as stores  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise BadRequest(
            f"--output {output} needs a package that is not installed: "
            f"pip install 'mayfly[{extra}]'"
        ) from error
    settings = {"s3": _s3, "gs": _gcs}.get(protocol, _azure)(environ)
    options = {
        "timeout": f"{REQUEST_S:.0f}s",
        "connect_timeout": "10s",
        "allow_http": str(settings.pop("endpoint", "") or "").startswith("http://"),
    }
    retry = {"max_retries": RETRIES, "retry_timeout": timedelta(seconds=RETRY_S)}
    try:
        with _one_line(output):
            make: Any = stores.from_url
            store = make(uri, client_options=options, retry_config=retry, **settings)
    except (StoreError, ValueError) as error:
        raise BadRequest(f"--output {output} cannot be used: {_reason(error)}") from error
    return ObjectStore(output, store)


def _s3(environ: Mapping[str, str]) -> dict[str, Any]:
    endpoint = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")
    config = {} if endpoint is None else {"endpoint": endpoint.rstrip("/")}
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION")
    config |= {name[4:].lower(): environ[name] for name in names if environ.get(name)}
    if (region := environ.get("AWS_DEFAULT_REGION")) and "region" not in config:
        config["region"] = region
    settings: dict[str, Any] = {"config": config, "endpoint": endpoint}
    if "AWS_ACCESS_KEY_ID" in environ:
        return settings
    # Profiles, SSO and roles, as for the input's library, so that both have the same identity.
    try:
        import botocore.session  # noqa: PLC0415 - comes with the extra
        from obstore.auth.boto3 import Boto3CredentialProvider  # noqa: PLC0415
    except ImportError:
        return settings
    session = botocore.session.get_session()
    if region := session.get_config_variable("region"):
        config.setdefault("region", region)
    try:
        settings["credential_provider"] = Boto3CredentialProvider(session)
    except Exception:  # noqa: BLE001 - no credentials there: the library's own chain, or anonymous
        return settings
    return settings


def _gcs(environ: Mapping[str, str]) -> dict[str, Any]:
    endpoint = environ.get("STORAGE_EMULATOR_HOST")
    if not endpoint:
        return {"config": {}}
    endpoint = endpoint if "://" in endpoint else f"http://{endpoint}"
    # An emulator has no accounts; with skip_signature alone, writes would still request a token.
    anonymous = {"disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": ""}
    key = json.dumps({"gcs_base_url": endpoint.rstrip("/"), **anonymous})
    return {"config": {"service_account_key": key}, "endpoint": endpoint}


def _azure(environ: Mapping[str, str]) -> dict[str, Any]:
    text = environ.get("AZURE_STORAGE_CONNECTION_STRING", "")
    pairs = dict(part.split("=", 1) for part in text.split(";") if "=" in part)
    names = {
        "AccountName": "account_name",
        "AccountKey": "account_key",
        "SharedAccessSignature": "sas_key",
        "BlobEndpoint": "endpoint",
    }
    config = {name: pairs[key] for key, name in names.items() if key in pairs}
    return {"config": config, "endpoint": config.get("endpoint")}


def _stored(meta: Mapping[str, Any]) -> Stored:
    return Stored(meta["size"], _version(meta), meta["last_modified"])


def _version(meta: Mapping[str, Any]) -> Version:
    return Version(meta.get("e_tag"), meta.get("version"))


@contextmanager
def _one_line(uri: str) -> Iterator[None]:
    """Turn what the library raises into a `StoreError` of one line."""
    try:
        yield
    except StoreError:
        raise
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        # A panic of the library is a BaseException.
        kind = type(error).__name__
        if isinstance(error, OSError) and error.strerror:
            raise  # This machine's disk.
        denied = kind in ("PermissionDeniedError", "UnauthenticatedError")
        bucket = urlsplit(uri).netloc
        reason = _reason(error)
        if denied:
            reason = f"access is denied ({reason})"
        elif kind in ("NotFoundError", "FileNotFoundError"):
            reason = f"bucket {bucket} does not exist ({reason})"
        raise StoreError(reason, denied=denied) from error


_CODE = re.compile(r"<Code>([^<]+)</Code>.*?<Message>([^<]*)", re.DOTALL)
_NO_REPLY = re.compile(r"Error performing [A-Z]+ (\w+://[^/\s]+).*HTTP error: (.*)", re.DOTALL)
_STATUS = re.compile(r"status code: (\d{3} [A-Za-z ]+)")


def _reason(error: BaseException) -> str:
    """Return why, without the library's debug lines, addresses' queries and credentials."""
    text = str(error).partition("\n\nDebug source")[0]
    if found := _CODE.search(text):
        text = f"{found.group(1)}: {found.group(2)}"
    elif found := _STATUS.search(text):
        text = f"HTTP {found.group(1).strip()}"
    elif found := _NO_REPLY.search(text):
        text = f"{found.group(1)} does not answer: {found.group(2)}"
    else:
        text = re.sub(r"\?\S+", "", " ".join(text.split()))
    text = " ".join(text.split()).rstrip(".")
    return text if len(text) <= MAX_REASON_CHARS else f"{text[: MAX_REASON_CHARS - 3]}..."
