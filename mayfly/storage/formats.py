"""The formats of input files, by their names."""

from typing import NamedTuple

PARQUET, JSON_LINES, CSV, ARROW = "Parquet", "JSON lines", "CSV", "Arrow IPC"

_KINDS = {
    "jsonl": JSON_LINES,
    "ndjson": JSON_LINES,
    "json": JSON_LINES,
    "csv": CSV,
    "arrow": ARROW,
    "feather": ARROW,
    "ipc": ARROW,
}
_MEDIA = frozenset(
    (
        *("png", "jpg", "jpeg", "gif", "webp", "bmp", "tif", "tiff", "avif", "heic"),
        *("wav", "mp3", "flac", "ogg", "opus", "m4a", "aac", "aiff"),
        *("mp4", "mov", "webm", "mkv", "avi", "mpg", "mpeg"),
    )
)
_COMPRESSIONS = {"gz": "gzip", "zst": "zstd"}

IN_WORDS = "Parquet, JSON lines (.jsonl, .ndjson), CSV or Arrow IPC (.arrow, .feather)"


class Kind(NamedTuple):
    """Format and compression of a file, by its name.

    Attributes:
        format: One of the four above. An unknown suffix counts as Parquet, which is checked by its
            first and last bytes.
        compression: `gzip` or `zstd` of the whole file, or None.
    """

    format: str
    compression: str | None = None


def is_media(name: str) -> bool:
    """Whether a file next to data is an image, sound or a video, which cells may name."""
    return name.rpartition(".")[2].lower() in _MEDIA


def kind_of(path: str) -> Kind:
    """Return a file's format by its suffix; a query (`?…`) is ignored."""
    name = path.partition("?")[0].rsplit("/", 1)[-1].lower()
    stem, _, suffix = name.rpartition(".")
    compression = _COMPRESSIONS.get(suffix)
    if compression is not None:
        suffix = stem.rpartition(".")[2]
    found = _KINDS.get(suffix)
    if found is None:
        return Kind(PARQUET)
    return Kind(found, compression)
