"""The manifest on disk: `DIR/_mayfly/manifest.json`, whole at every moment."""

from pathlib import Path

import orjson

from mayfly.models.errors import BadRequest, TerminalError
from mayfly.models.manifest import Manifest
from mayfly.storage.atomic import write_atomically


def load_manifest(path: Path) -> Manifest | None:
    """Read a manifest; None when there is none.

    Raises:
        BadRequest: It is damaged, or of another version of mayfly.
    """
    try:
        return Manifest.from_dict(orjson.loads(path.read_bytes()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadRequest(
            f"manifest {path} cannot be read: {type(error).__name__} {error}; "
            "restore it, or give another --output"
        ) from error


def commit_manifest(path: Path, manifest: Manifest) -> None:
    """Replace the manifest; when this returns it survives a power cut.

    Raises:
        TerminalError: The disk cannot take it; the old one stands.
    """
    data = orjson.dumps(manifest.as_dict(), option=orjson.OPT_INDENT_2)
    try:
        write_atomically(path, data)
    except OSError as error:
        raise TerminalError(
            f"manifest {path} cannot be written: {error.strerror}; "
            "make room and run the same command again"
        ) from error
