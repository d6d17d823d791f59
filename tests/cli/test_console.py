"""Output to terminals, pipes, CI logs and closed streams."""

import io
import os
from typing import Any

import pytest
from rich.table import Table
from rich.text import Text

from mayfly.cli.render.console import Steady, console, is_live


class Screen(io.StringIO):
    """A terminal that keeps what is written on it."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def shown(stream: Any, *, width: str = "40") -> str:
    """Return what a stream receives of a red text, a long line and a table."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = width
    try:
        out = console(stream)
        out.print(Text("red", style="red"), Text("word " * 20))
        table = Table.grid()
        table.add_column(width=30)
        table.add_row("short")
        out.print(table)
    finally:
        os.environ.pop("COLUMNS") if before is None else os.environ.update(COLUMNS=before)
    written: str = stream.getvalue()
    return written


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("CI", "NO_COLOR", "FORCE_COLOR", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)


def test_terminal_output_has_colours_and_fits_the_width() -> None:
    written = shown(Screen())

    assert "\x1b[31m" in written
    assert all(len(Text.from_ansi(line).plain) <= 40 for line in written.splitlines())


def test_no_color_removes_only_the_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")

    assert "\x1b[31m" not in shown(Screen())


@pytest.mark.parametrize("forced", ["FORCE_COLOR", "TTY_COMPATIBLE"])
def test_pipe_output_has_whole_lines_without_colours_or_blanks(
    monkeypatch: pytest.MonkeyPatch, forced: str
) -> None:
    monkeypatch.setenv(forced, "1")
    pipe = io.StringIO()

    written = shown(pipe)

    assert written == f"red {('word ' * 20).rstrip()}\nshort\n"


def test_lines_are_redrawn_only_in_a_capable_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_live(console(Screen()))
    assert not is_live(console(io.StringIO()))

    monkeypatch.setenv("TERM", "dumb")

    assert not is_live(console(Screen()))


@pytest.mark.parametrize(
    ("ci", "live"), [("true", False), ("1", False), ("false", True), ("", True)]
)
def test_ci_log_is_not_redrawn(ci: str, live: bool) -> None:
    assert is_live(console(Screen()), {"CI": ci}) is live


def test_closed_pipe_is_no_failure() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        steady = Steady(stream)

        steady.write("nobody reads this\n" * 10_000)
        steady.flush()


def test_stream_without_a_character_gets_a_replacement(tmp_path: Any) -> None:
    with (tmp_path / "ascii").open("w", encoding="ascii") as stream:
        Steady(stream).write("✓ done\n")

    assert (tmp_path / "ascii").read_text() == "? done\n"
