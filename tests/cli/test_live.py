"""The live panel: any width, resizing, plain lines where nothing can be redrawn."""

import io
import re
import threading
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mayfly.cli.render.live import Display, Panel
from mayfly.cli.render.live_block import LiveBlock
from mayfly.cli.render.notebook_block import NotebookBlock, notebook_display
from mayfly.cli.render.parts import Parts, lines_of
from mayfly.cli.render.waiting import WaitingLine, waiting
from mayfly.models.rows import Tally
from mayfly.reporting.progress import Progress, Snapshot, Step

HOUR_S = 3600.0


def snapshot(**changes: Any) -> Snapshot:
    """Return a run that has been on for hours."""
    value: dict[str, Any] = {
        "step": Step.INFERRING,
        "rows": 3_000_000,
        "tally": Tally(done=1_234_567, failed=891),
        "in_flight": 1024,
        "limit": 2048,
        "ready_replicas": 4,
        "price_usd_per_h": 5.49,
        "spent_usd": 123.45,
        "inferring_s": 10 * HOUR_S,
        "seconds": {
            "previewing": 14 * 60.0 + 22, "planning": 3.0, "creating": 2.0,
            "waiting": 12 * 60.0 + 7, "inferring": 10 * HOUR_S,
        },
        "recent_rows_per_s": 1234.5,
        "recent_tokens_per_s": 123_456.0,
    }  # fmt: skip
    return Snapshot(**{**value, **changes})


def drawn(what: Any, width: int) -> list[str]:
    """Return the lines that a terminal of some width shows."""
    out = io.StringIO()
    Console(file=out, width=width, highlight=False, color_system=None).print(what)
    return [line.rstrip() for line in out.getvalue().splitlines()]


@pytest.mark.parametrize("width", [50, 80, 120])
def test_panel_wraps_no_figure_at_any_width(width: int) -> None:
    lines = drawn(Panel(snapshot()), width)

    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    for figure in (
        "1,234,567 of 3,000,000 rows", "891 failed", "1,234.5 rows/s", "123,456 tokens/s",
        "1,024 in flight of 2,048", "4 replicas ready", "$123.45 at $5.49/h per replica",
        "● inference 10 h 00 min",
    ):  # fmt: skip
        assert figure in text
    assert "…" not in text


def test_panel_shows_steps_and_times_where_they_fit() -> None:
    assert "✓ wait for READY 12 min 07 s" in "\n".join(drawn(Panel(snapshot()), 140))
    assert "✓ wait for READY  ●" in "\n".join(drawn(Panel(snapshot()), 100))
    assert "✓ ✓ ✓ ✓ ● inference" in "\n".join(drawn(Panel(snapshot()), 50))


def test_line_parts_use_the_fewest_lines() -> None:
    assert lines_of(["aa", "bb", "cc"], 7) == ["aa · bb", "cc"]
    assert lines_of(["too long for it"], 5) == ["too long for it"]
    assert lines_of([], 5) == []


def test_table_parts_use_the_lines_that_they_need() -> None:
    table = Table.grid(padding=(0, 2))
    table.add_row("now", Parts(["12 rows/s", "1 min 26 s left"]))

    assert drawn(table, 40) == ["now  12 rows/s · 1 min 26 s left"]
    assert drawn(table, 24) == ["now  12 rows/s", "     1 min 26 s left"]


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.at_s = 0.0

    def monotonic(self) -> float:
        return self.at_s

    def time(self) -> float:
        return self.at_s

    def sleep(self, seconds: float) -> None:
        self.at_s += seconds


def test_event_line_after_an_hour_is_complete() -> None:
    out, clock = io.StringIO(), Clock()
    console = Console(file=out, width=200, highlight=False, color_system=None)
    progress = Progress(clock)
    progress.begin()
    clock.at_s = 14 * 60 + 22

    with Display(console, progress):
        progress.log("rows wait")
        clock.at_s = 101 * HOUR_S
        progress.log("rows go on")

    lines = out.getvalue().splitlines()
    assert any(re.fullmatch(r" *14 min 22 s  rows wait *", line) for line in lines)
    assert any(re.fullmatch(r" *101 h 00 min  rows go on *", line) for line in lines)


class Screen:
    """A terminal of a few lines that wraps what is wider, as far as the block needs one."""

    def __init__(self, width: int) -> None:
        self.width, self.lines, self.row = width, [""], 0

    def resize(self, width: int) -> None:
        """Wrap what is there at another width, as terminals do; the cursor stays at its text."""
        wrapped: list[str] = []
        for index, line in enumerate(self.lines):
            parts = [line[at : at + width] for at in range(0, max(len(line), 1), width)]
            wrapped += parts
            if index == self.row:
                self.row = len(wrapped) - 1
        self.lines, self.width = wrapped, width

    def feed(self, text: str) -> None:
        """Take what is written."""
        for part in re.findall(r"\x1b\[\??\d*[A-Za-z]|\r|\n|[^\x1b\r\n]+", text):
            if part == "\x1b[2K":
                self.lines[self.row] = ""
            elif part == "\x1b[1A":
                self.row -= 1
            elif part == "\n":
                self.row += 1
                while len(self.lines) <= self.row:
                    self.lines.append("")
            elif part[0] not in "\x1b\r":
                assert len(part) <= self.width
                self.lines[self.row] += part


class ResizableTerminal:
    """A console of 60 columns, and the screen that shows what is printed."""

    def __init__(self) -> None:
        self._out = io.StringIO()
        self.console = Console(
            file=self._out, width=60, height=20, highlight=False, color_system=None,
            force_terminal=True,
        )  # fmt: skip
        self.screen = Screen(60)

    def resize(self, width: int) -> None:
        self.screen.resize(width)
        self.console.width = width

    def show(self) -> None:
        """Feed the screen with what was printed since the last time."""
        self.screen.feed(self._out.getvalue())
        self._out.seek(0)
        self._out.truncate()


def test_resized_terminal_keeps_no_remains_of_the_live_block() -> None:
    terminal = ResizableTerminal()
    block, screen = LiveBlock(terminal.console), terminal.screen

    def step(width: int, text: str) -> None:
        terminal.resize(width)
        block.show(Text(text))
        terminal.show()

    block.above(Text("kept"))
    step(60, "a" * 55 + "\n" + "b" * 10)
    step(20, "c" * 15)
    step(60, "d" * 50)
    block.end()
    terminal.show()

    assert [line for line in screen.lines if line] == ["kept"]


def test_resized_terminal_keeps_no_remains_of_a_waiting_line() -> None:
    terminal = ResizableTerminal()
    screen = terminal.screen

    def step(width: int, text: str) -> None:
        terminal.resize(width)
        terminal.console.print(Text(text))
        terminal.show()

    with WaitingLine(
        terminal.console, "starting a server that takes its time to start", every_s=60
    ):
        step(60, "first")
        shown = "".join(screen.lines)
        step(20, "second")
        step(60, "third")
        step(11, "fourth")
    terminal.show()

    assert "starting a server" in shown
    assert [line for line in screen.lines if line] == ["first", "second", "third", "fourth"]


def test_long_wait_is_explained_in_plain_lines() -> None:
    out = io.StringIO()
    console = Console(file=out, width=80, highlight=False, color_system=None)
    said = threading.Event()
    written = console.print

    def print_it(*parts_printed: Any) -> None:
        written(*parts_printed)
        said.set()

    console.print = print_it  # type: ignore[method-assign, assignment]
    with waiting(console, "reading the input", silent_s=0.0):
        said.wait(10)
    with waiting(console, "not said", silent_s=60.0):
        pass

    assert out.getvalue() == "reading the input ...\n"


def test_notebook_output_is_replaced_and_messages_are_kept() -> None:
    shown: list[str] = []

    class Handle:
        def update(self, bundle: dict[str, str], *, raw: bool) -> None:
            assert raw
            shown.append(bundle["text/plain"])

    def display(bundle: dict[str, str], *, raw: bool, display_id: bool) -> Handle:
        assert (raw, display_id) == (True, True)
        shown.append(bundle["text/plain"])
        return Handle()

    block = NotebookBlock(display)

    block.show(Text("10 %"))
    block.above(Text("rows wait"))
    block.show(Text("20 %"))
    block.end()

    assert shown == ["10 %", "rows wait\n10 %", "rows wait\n20 %", "rows wait"]
    assert notebook_display() is None
