"""The model's tokenizer, if it is cached on this machine; nothing is ever downloaded."""

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

LARGEST_BYTES = 64 * 2**20


def cached_tokenizer(environ: Mapping[str, str], model: str) -> Callable[[str], int] | None:
    """Return a function that counts the tokens of a text for a model; None if not available.

    Uses `tokenizer.json` from the local cache of the Hugging Face hub, and the package
    `tokenizers`, if both exist. Neither is a dependency.
    """
    path = _cached_file(environ, model)
    if path is None:
        return None
    try:
        library: Any = importlib.import_module("tokenizers")
        tokenizer = library.Tokenizer.from_file(str(path))
    except Exception:  # noqa: BLE001 - optional, and may have another version
        return None

    def count(text: str) -> int:
        return len(tokenizer.encode(text).ids)

    return count


def _cached_file(environ: Mapping[str, str], model: str) -> Path | None:
    home = environ.get("HF_HOME") or str(
        Path(environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "huggingface"
    )
    hub = Path(environ.get("HF_HUB_CACHE") or f"{home}/hub").expanduser()
    folder = hub / f"models--{model.replace('/', '--')}" / "snapshots"
    try:
        found = sorted(folder.glob("*/tokenizer.json"), key=lambda path: path.stat().st_mtime)
        return found[-1] if found and found[-1].stat().st_size <= LARGEST_BYTES else None
    except OSError:
        return None
