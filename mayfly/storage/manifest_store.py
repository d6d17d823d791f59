"""The manifest on disk: `DIR/_mayfly/manifest.json`, which is replaced atomically."""

from pathlib import Path

import orjson

from mayfly.models.errors import BadRequest, TerminalError
from mayfly.models.manifest import Manifest
from mayfly.storage.atomic import write_atomically


def load_manifest(path: Path) -> Manifest | None:
    """Read a manifest; None if there is none.

    Raises:
        BadRequest: It is damaged, or of another version of mayfly.
    """
    try:
        return Manifest.from_dict(orjson.loads(path.read_bytes()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise BadRequest(
            f"manifest {path} cannot be read: {error.strerror}; "
            "restore it, or give another --output"
        ) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadRequest(
            f"manifest {path} cannot be read: {type(error).__name__} {error}; "
            "restore it, or give another --output"
        ) from error


def commit_manifest(path: Path, manifest: Manifest) -> None:
    """Replace the manifest; on return it survives a power failure.

    Raises:
        TerminalError: It cannot be written; the old one is kept.
    """
    data = orjson.dumps(manifest.as_dict(), option=orjson.OPT_INDENT_2)
    try:
        write_atomically(path, data)
    except OSError as error:
        raise TerminalError(
            f"manifest {path} cannot be written: {error.strerror}; "
            "free some disk space and run the same command again"
        ) from error
