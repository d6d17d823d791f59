"""Describe the environment of a run: versions, host, and the commit of its input."""

import os
import platform
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("mayfly", "prefect", "together", "pyarrow")
GIT_TIMEOUT_S = 3.0


def describe_environment(input: str) -> dict[str, Any]:  # noqa: A002 - the contract's word
    """Return plain JSON values: versions, Python, system, host, processors, the input's commit."""
    return {
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "host": socket.gethostname(),
        "cpus": os.cpu_count(),
        "commit": commit_of(input),
    }


def commit_of(input: str) -> str | None:  # noqa: A002
    """Return the commit of the Git repository of an input, with `+` if the input was modified.

    None if the input is a URI, outside a repository or ignored by it, or if Git is not installed.
    """
    if "://" in input:
        return None
    path = Path(input).expanduser()
    # For a glob, use the folder above its first pattern.
    while any(character in path.name for character in "*?["):
        path = path.parent
    folder = path if path.is_dir() else path.parent
    with suppress(OSError, ValueError):
        folder, path = folder.resolve(), path.resolve()
        if not any((above / ".git").exists() for above in (folder, *folder.parents)):
            return None
        if not _git(folder, "ls-files", "--", str(path)):
            return None
        commit = _git(folder, "rev-parse", "--short=12", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--", str(path))
        return f"{commit}{'+' if changed else ''}" if commit else None
    return None


def _git(folder: Path, *arguments: str) -> str:
    """Return Git's output, "" when it fails; it executes and writes nothing of the repository."""
    command = ["git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", *arguments]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=_quiet(os.environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _quiet(environ: Mapping[str, str]) -> dict[str, str]:
    kept = {name: environ[name] for name in ("PATH", "HOME", "LANG") if name in environ}
    return {**kept, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}


def _version(name: str) -> str:
    # A package that is loaded but not installed may have a `__version__`.
    try:
        return version(name)
    except PackageNotFoundError:
        return str(getattr(sys.modules.get(name), "__version__", ""))
