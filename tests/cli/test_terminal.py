"""Commands in a real terminal: what they ask, and what stays on it."""

import shlex
import sys
from pathlib import Path

from tests.support.shell import ASKED, Shell
from tests.support.terminal import Terminal, terminal
from tests.support.wait import wait_until

SCRIPT = """\
import sys, time
from pathlib import Path
from mayfly.cli.render.console import console
from mayfly.cli.render.waiting import waiting
def wait_for(name):
    while not Path(sys.argv[1], name).exists():
        time.sleep(0.05)
screen = console()
screen.print("printed before")
with waiting(screen, "starting a temporary Prefect server (PREFECT_API_URL avoids this)"):
    wait_for("first")
    screen.print("printed meanwhile")
    wait_for("second")
screen.print("the end")
"""


def test_resized_window_keeps_one_waiting_line_and_then_none(tmp_path: Path) -> None:
    def shown(window: Terminal) -> str:
        return " ".join(line.strip() for line in window.lines())

    with terminal(tmp_path, sys.executable, "-c", SCRIPT, str(tmp_path), columns=120) as window:
        wait_until(lambda: "avoids this" in shown(window), "waiting line")
        for columns in (50, 90, 44):
            window.resize(columns)
            wait_until(lambda: shown(window).endswith("avoids this)"), "redrawn line")
            assert shown(window).count("starting") == 1
        (tmp_path / "first").touch()
        wait_until(lambda: "printed meanwhile" in shown(window), "message")
        (tmp_path / "second").touch()
        wait_until(lambda: "the end" in shown(window), "end")
        lines = [line for line in window.lines() if not line.startswith("Pane is dead")]

    assert lines == ["printed before", "printed meanwhile", "the end"]


BLOCK = """\
from rich.text import Text
from mayfly.cli.render.console import console
from mayfly.cli.render.live_block import LiveBlock
screen = console()
block = LiveBlock(screen)
for figure in range(3):
    block.show(Text(f"{figure} rows " * 12))
    block.above(Text(f"message {figure}"))
block.end()
screen.print("the end")
"""


def test_block_is_erased_at_the_width_of_the_terminal_not_of_columns(tmp_path: Path) -> None:
    # As what a program with line editing starts gets it.
    env = {"COLUMNS": "120"}
    with terminal(tmp_path, sys.executable, "-c", BLOCK, columns=50, env=env) as window:
        wait_until(lambda: "the end" in "".join(window.lines()), "end")
        lines = [line for line in window.lines() if not line.startswith("Pane is dead")]

    assert lines == ["message 0", "message 1", "message 2", "the end"]


def run_in(*options: str) -> list[str]:
    """Return a command that runs mayfly, and then writes its exit code."""
    command = shlex.join([sys.executable, "-m", "mayfly.cli.main", "run", *ASKED, *options])
    return ["sh", "-c", f"{command}; echo exit code $?"]


def test_run_asks_before_it_spends_and_creates_nothing_after_no(shell: Shell) -> None:
    with terminal(shell.folder, *run_in(), columns=120, env=shell.env) as window:
        wait_until(lambda: "[y/N]" in "".join(window.lines()), "question")
        (question,) = [line for line in window.lines() if "[y/N]" in line]
        window.type_line("n")
        wait_until(lambda: "exit code" in "".join(window.lines()), "end")
        lines = window.lines()

    assert "Create this endpoint at $5.49/h for the batch?" in question
    assert "nothing was created" in lines
    assert "exit code 2" in lines
    assert shell.creations == 0


def test_local_run_asks_nothing_and_leaves_no_live_lines(shell: Shell) -> None:
    with terminal(shell.folder, *run_in("--local"), columns=50, env=shell.env) as window:
        wait_until(lambda: "exit code" in "".join(window.lines()), "end")
        lines = window.lines()

    assert "exit code 0" in lines
    assert not [line for line in lines if "[y/N]" in line]
    # Nothing of the waiting lines and of the live panel.
    live = [line for line in lines if set(line) & set("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏━●○")]
    assert not live, "\n".join(lines)
    assert "      rows  40 of 40 answered" in lines
