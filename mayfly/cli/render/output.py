"""The output of `mayfly run`: text for people, one JSON object per line for scripts."""

import json
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from rich.text import Text

from mayfly.cli.render.console import Steady, console, notes_console
from mayfly.cli.render.live import Display
from mayfly.cli.render.plan import plan_table
from mayfly.cli.render.summary import summary
from mayfly.cli.render.waiting import waiting
from mayfly.planning.plan import Plan
from mayfly.reporting.progress import Progress, Step, numbers

EVENT_EVERY_S = 1.0


class Screen(Protocol):
    """The output of a run."""

    def plan(self, plan: Plan) -> None:
        """Show the plan."""

    def waiting(self, text: str) -> AbstractContextManager[object]:
        """Show what the block waits for, if it takes longer than a few seconds."""

    def follow(self, progress: Progress) -> AbstractContextManager[object]:
        """Follow a run while the block lasts."""

    def log(self, text: str) -> None:
        """Show a message."""

    def end(self, report: dict[str, Any], code: int) -> None:
        """Show the result."""

    def failed(self, error: str, code: int) -> None:
        """Show a failure, beyond the line on standard error."""


class TerminalScreen:
    """The screen for people: a live panel in a terminal, plain lines in a pipe."""

    def __init__(self) -> None:
        self.console = console()

    def plan(self, plan: Plan) -> None:
        """Show the plan."""
        self.console.print(plan_table(plan))

    def waiting(self, text: str) -> AbstractContextManager[object]:
        """Show what the block waits for, if it takes longer than a few seconds."""
        return waiting(notes_console(), text)

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
        """Do nothing: the line on standard error is enough."""


class JsonScreen:
    """The screen for scripts: one JSON object per line, and nothing else on standard output.

    The events are `plan`, `note`, `phase`, `endpoint` and `progress`, and at the end `summary` or
    `failed`.
    """

    def __init__(self) -> None:
        self._file = Steady(sys.stdout)
        self._emitted = 0

    def emit(self, event: str, fields: Mapping[str, Any]) -> None:
        """Write one line."""
        self._file.write(json.dumps({"event": event, **fields}, default=str) + "\n")
        self._file.flush()

    def plan(self, plan: Plan) -> None:
        """Show the plan."""
        self.emit("plan", plan.as_dict())

    def waiting(self, text: str) -> AbstractContextManager[object]:
        """Show what the block waits for, if it takes longer than a few seconds."""
        return waiting(console(sys.stderr), text)

    @contextmanager
    def follow(self, progress: Progress) -> Iterator[None]:
        """Follow a run while the block lasts."""
        over = threading.Event()

        def poll() -> None:
            while not over.wait(EVENT_EVERY_S):
                self._emit_events(progress)
                now = progress.snapshot()
                if now.step is Step.INFERRING:
                    self.emit("progress", numbers(now))

        thread = threading.Thread(target=poll, name="events", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self._emit_events(progress)
            if progress.began:
                self.emit("progress", numbers(progress.snapshot()))

    def log(self, text: str) -> None:
        """Show a message."""
        self.emit("note", {"text": text})

    def end(self, report: dict[str, Any], code: int) -> None:
        """Show the result: `report.json` without its time series."""
        fields = {name: value for name, value in report.items() if name not in {"series", "job"}}
        self.emit("summary", {"exit_code": code, **fields})

    def failed(self, error: str, code: int) -> None:
        """Show a failure."""
        self.emit("failed", {"exit_code": code, "error": error})

    def _emit_events(self, progress: Progress) -> None:
        for event in progress.events[self._emitted :]:
            self._emitted += 1
            fields = event.fields or {"text": event.text}
            self.emit(event.kind, {"at_s": round(event.at_s, 3), **fields})
