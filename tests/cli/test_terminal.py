"""What stays in a real terminal that is resized."""

import sys
from pathlib import Path

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
