"""Suggest the file meant by a path that does not exist."""

from pathlib import Path

from mayfly.models.nearest import nearest


def nearest_file(path: Path) -> str:
    """Return `; did you mean a.csv?` for a similar name in the same folder, or ""."""
    try:
        names = [other.name for other in path.expanduser().parent.iterdir()]
    except OSError:
        return ""
    return nearest(path.name, names)
