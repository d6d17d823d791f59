"""The file that is meant by a path that does not exist."""

from pathlib import Path

from mayfly.models.nearest import nearest


def nearest_file(path: Path) -> str:
    """Write which file or folder beside a path is meant: `; did you mean a.csv?`, or nothing."""
    try:
        names = [other.name for other in path.expanduser().parent.iterdir()]
    except OSError:
        return ""
    return nearest(path.name, names)
