"""The output of `mayfly run`: text for people, one JSON object per line for scripts."""

import json
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from rich.text import Text

from mayfly.cli.render.console import Steady, console, is_live
from mayfly.cli.render.live import Display
from mayfly.cli.render.plan import plan_table
from mayfly.cli.render.summary import summary
from mayfly.cli.render.waiting import waiting
from mayfly.planning.plan import Plan
from mayfly.reporting.progress import Progress, Step, numbers

EVENT_EVERY_S = 1.0


class Screen(Protocol):
    """What shows a run."""

    def plan(self, plan: Plan) -> None:
        """Show the plan."""

    def waiting(self, text: str) -> AbstractContextManager[object]:
        """Say what is waited for while the block lasts, if that takes more than a moment."""

    def follow(self, progress: Progress) -> AbstractContextManager[object]:
        """Follow a run while the block lasts."""

    def log(self, text: str) -> None:
        """Show a message."""

    def end(self, report: dict[str, Any], code: int) -> None:
        """Show the result."""

    def failed(self, error: str, code: int) -> None:
        """Show that it failed, beyond the line on standard error."""


class TerminalScreen:
    """The screen for people: a live panel in a terminal, plain lines in a pipe."""

    def __init__(self) -> None:
        self.console = console()

    def plan(self, plan: Plan) -> None:
        """Show the plan."""
        self.console.print(plan_table(plan))

    def waiting(self, text: str) -> AbstractContextManager[object]:
        """Say what is waited for while the block lasts, if that takes more than a moment."""
        # In a pipe it goes beside the output, which a script may read.
        return waiting(self.console if is_live(self.console) else console(sys.stderr), text)

    def follow(self, progress: Progress) -> AbstractContextManager[object]:
        """Follow a run while the block lasts."""
        return Display(self.console, progress)

    def log(self, text: str) -> None:
        """Show a message."""
        self.console.print(Text(text))

    def end(self, report: dict[str, Any], code: int) -> None:
        """Show the result."""
        del code
        self.console.print()
        self.console.print(summary(report))

    def failed(self, error: str, code: int) -> None:
        """Leave it to the line on standard error."""


class JsonScreen:
    """The screen for machines: events `plan`, `note`, `phase`, `endpoint`, `progress`, and at the
    end `summary` or `failed`; nothing else is on standard output."""

    def __init__(self) -> None:
        self._file = Steady(sys.stdout)
        self._told = 0

    def emit(self, event: str, facts: Mapping[str, Any]) -> None:
        """Write one line."""
        self._file.write(json.dumps({"event": event, **facts}, default=str) + "\n")
        self._file.flush()

    def plan(self, plan: Plan) -> None:
        """Show the plan."""
        self.emit("plan", plan.as_dict())

    def waiting(self, text: str) -> AbstractContextManager[object]:
        """Say what is waited for while the block lasts, if that takes more than a moment."""
        return waiting(console(sys.stderr), text)

    @contextmanager
    def follow(self, progress: Progress) -> Iterator[None]:
        """Follow a run while the block lasts."""
        over = threading.Event()

        def tell() -> None:
            while not over.wait(EVENT_EVERY_S):
                self._tell(progress)
                now = progress.snapshot()
                if now.step is Step.INFERRING:
                    self.emit("progress", numbers(now))

        thread = threading.Thread(target=tell, name="events", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self._tell(progress)
            if progress.began:
                self.emit("progress", numbers(progress.snapshot()))

    def log(self, text: str) -> None:
        """Show a message."""
        self.emit("note", {"text": text})

    def end(self, report: dict[str, Any], code: int) -> None:
        """Show the result: the figures of `report.json` but for those over time."""
        facts = {name: value for name, value in report.items() if name not in {"series", "job"}}
        self.emit("summary", {"exit_code": code, **facts})

    def failed(self, error: str, code: int) -> None:
        """Show that it failed."""
        self.emit("failed", {"exit_code": code, "error": error})

    def _tell(self, progress: Progress) -> None:
        for event in progress.story[self._told :]:
            self._told += 1
            facts = event.facts or {"text": event.text}
            self.emit(event.kind, {"at_s": round(event.at_s, 3), **facts})
