"""The location of an output: a local folder, or a URI with a work folder on this machine.

A run into an object store uses its work folder like a local output; finished files are mirrored to
the store. The work folder is below MAYFLY_HOME, named after the URI.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

from mayfly.models.errors import BadRequest
from mayfly.storage.lease_store import state_home
from mayfly.storage.run_paths import RunPaths
from mayfly.storage.uri_credentials import ENVIRON, masked

PROTOCOLS = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gs",
    "gcs": "gs",
    "az": "az",
    "abfs": "abfs",
    "abfss": "abfss",
}
"""Protocols of an output's URI, with their names in the store's library."""

_ENDPOINTS = (
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL",
    "STORAGE_EMULATOR_HOST",
    "AZURE_STORAGE_ACCOUNT_NAME",
    "AZURE_STORAGE_USE_EMULATOR",
)
"""Variables that determine which store a URI refers to."""


def is_remote(output: str) -> bool:
    """Whether an output is a URI outside the local file system."""
    return output.partition("://")[0] not in (output, "file", "local")


def paths_of(output: str, environ: Mapping[str, str] = ENVIRON) -> RunPaths:
    """Return the paths of a run into an output on this machine; touches nothing.

    Args:
        output: `--output`.
        environ: Determines the folder of the work folders of object stores.

    Raises:
        BadRequest: A URI that is not supported, or one with credentials.
    """
    if is_remote(output):
        return RunPaths(_work_folder(output, environ))
    path = output.removeprefix("file://").removeprefix("local://")
    return RunPaths(Path(path).expanduser())


def shown_output(folder: str) -> str:
    """Return the output as the user gave it: the URI of a work folder, or the folder itself."""
    try:
        return str(json.loads(RunPaths(Path(folder)).store_index.read_bytes())["uri"])
    except (OSError, ValueError, KeyError, TypeError):
        return folder


def store_uri(output: str) -> str:
    """Return the URI of an output for the store's library.

    Raises:
        BadRequest: The protocol is not supported, or the URI has no bucket, or credentials.
    """
    protocol, _, rest = output.partition("://")
    if masked(output) != output or ("@" in rest.partition("/")[0] and protocol != "abfss"):
        raise BadRequest(
            f"--output {protocol}://... has credentials in it, which would be stored with the run; "
            "give them in the environment, as the store's own tools take them"
        )
    if protocol not in PROTOCOLS:
        raise BadRequest(
            f"--output {output}: runs write to local folders, s3://, gs:// and az:// (abfs://); "
            "give one of these"
        )
    parts = [part for part in rest.split("/") if part]
    if not parts or "?" in rest or "#" in rest:
        raise BadRequest(f"--output {output} names no folder of a bucket, such as s3://bucket/run1")
    return f"{PROTOCOLS[protocol]}://{'/'.join(parts)}"


def _work_folder(output: str, environ: Mapping[str, str]) -> Path:
    uri = store_uri(output)
    meant = "\n".join([uri, *(environ.get(name, "") for name in _ENDPOINTS)])
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", uri.rsplit("/", 1)[-1])[:40]
    digest = hashlib.sha256(meant.encode()).hexdigest()[:16]
    return state_home(environ).absolute() / "object-stores" / f"{name}-{digest}"
