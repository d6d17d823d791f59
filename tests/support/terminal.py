"""A real terminal: a window of tmux."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.shell import ROOT

TMUX = shutil.which("tmux")


class Terminal:
    """A window in which a command runs."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def tmux(self, *words: str) -> str:
        """Run a command of tmux; return what it printed."""
        assert TMUX is not None
        command = [TMUX, "-S", str(self._socket), "-f", os.devnull, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
        return done.stdout

    def resize(self, columns: int) -> None:
        """Give the window another width, as somebody does who drags its edge."""
        self.tmux("resize-window", "-x", str(columns), "-y", "40")

    def lines(self) -> list[str]:
        """Return all lines that are not empty, with those that have scrolled away."""
        text = self.tmux("capture-pane", "-p", "-S", "-")
        return [line for line in text.splitlines() if line.strip()]

    def type_line(self, text: str) -> None:
        """Type a line, and Enter."""
        self.tmux("send-keys", "-l", text)
        self.tmux("send-keys", "Enter")


@contextmanager
def terminal(
    folder: Path, *command: str, columns: int, env: Mapping[str, str] | None = None
) -> Iterator[Terminal]:
    """Run a command in a window; skip the test where there is no tmux.

    Args:
        folder: Where the command starts.
        env: Variables that it gets in addition.
    """
    if TMUX is None:
        pytest.skip("needs tmux")
    window = Terminal(folder / "tmux")
    usual = {"PYTHONPATH": str(ROOT), "TERM": "screen", "LANG": "C.UTF-8", **(env or {})}
    variables = [f"{name}={value}" for name, value in usual.items()]
    size = ["-c", str(folder), "-x", str(columns), "-y", "40"]
    without = ["env", "-u", "CI", "-u", "NO_COLOR"]
    window.tmux("new-session", "-d", *size, *without, *variables, *command)
    window.tmux("set-option", "-w", "remain-on-exit", "on")
    try:
        yield window
    finally:
        window.tmux("kill-server")
