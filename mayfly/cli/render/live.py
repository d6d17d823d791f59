"""The live display of a run: a panel in a terminal or notebook, plain lines elsewhere."""

import threading
from typing import Self

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mayfly.cli.render.console import is_live
from mayfly.cli.render.live_block import LiveBlock
from mayfly.cli.render.notebook_block import NotebookBlock, notebook_display
from mayfly.cli.render.parts import BETWEEN, Parts
from mayfly.cli.render.waiting import SILENT_S
from mayfly.models.durations import span
from mayfly.reporting.progress import STEP_LABELS, Progress, Snapshot, Step

TERMINAL_EVERY_S = 0.25
PLAIN_EVERY_S = 10.0
TIME_COLUMNS = 12
"""Width of the time before a line, as in `100 h 59 min`."""

_STEPS = {step: STEP_LABELS[step.name.lower()] for step in Step if step is not Step.DONE}
_ORDER = tuple(Step)


def numbers(now: Snapshot) -> tuple[list[str], list[str]]:
    """Return the live figures of a run: rows and throughput, then endpoint and cost."""
    rows = [f"{now.done:,} of {now.rows:,} rows"]
    endpoint = []
    if now.tally.failed:
        rows.append(f"{now.tally.failed:,} failed")
    if now.step is Step.INFERRING:
        rows_per_s = now.recent_rows_per_s or now.rows_per_s
        tokens_per_s = now.recent_tokens_per_s or now.tokens_per_s
        rows += [f"{rows_per_s:,.1f} rows/s", f"{tokens_per_s:,.0f} tokens/s"]
        endpoint.append(f"{now.in_flight:,} in flight of {now.limit:,}")
        if now.left_s is not None:
            rows.append(f"{span(now.left_s)} left")
    if now.ready_replicas:
        ready = now.ready_replicas
        endpoint.append(f"{ready} replica{'s' if ready > 1 else ''} ready")
    if now.price_usd_per_h:
        endpoint.append(f"${now.spent_usd:.2f} at ${now.price_usd_per_h:.2f}/h per replica")
    return rows, endpoint


def block_on(console: Console) -> LiveBlock | NotebookBlock | None:
    """Return the block to redraw in a terminal or a notebook; None elsewhere."""
    if is_live(console):
        return LiveBlock(console)
    display = notebook_display()
    return None if display is None else NotebookBlock(display)


class Display:
    """Displays a run until the block ends; the run itself writes nothing to the terminal."""

    def __init__(self, console: Console, progress: Progress) -> None:
        self._console = console
        self._progress = progress
        self._printed = 0
        self._over = threading.Event()
        self._block = block_on(console)
        self._thread = threading.Thread(target=self._follow, name="display", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join()
        self._print_events()
        if self._block is not None:
            self._block.end()

    def _follow(self) -> None:
        every_s = 0.5 if self._block is None else TERMINAL_EVERY_S
        ticks = 0
        while not self._over.wait(every_s):
            ticks += 1
            self._print_events()
            if not self._progress.began:
                self._show_start(ticks * every_s)
                continue
            now = self._progress.snapshot()
            if self._block is not None:
                self._block.show(Panel(now))
            elif now.step is Step.INFERRING and ticks % int(PLAIN_EVERY_S / every_s) == 0:
                rows, endpoint = numbers(now)
                line = BETWEEN.join([*rows, *endpoint])
                self._console.print(Text(f"{span(now.elapsed_s):>{TIME_COLUMNS}}  {line}"))

    def _show_start(self, waited_s: float) -> None:
        if self._block is not None:
            self._block.show(Text("  starting the run"))
        elif waited_s == SILENT_S:
            self._console.print(Text("starting the run ..."))

    def _print_events(self) -> None:
        progress = self._progress
        for event in progress.events[self._printed :]:
            self._printed += 1
            if event.kind == "endpoint":
                continue
            if event.kind == "phase" and (self._block is not None or event.text == Step.DONE):
                continue
            line = Table.grid(padding=(0, 2))
            line.add_column(width=TIME_COLUMNS, justify="right", style="dim", no_wrap=True)
            line.add_column(overflow="fold")
            text = _without_name(event.text, progress.snapshot().endpoint)
            line.add_row(span(event.at_s), Text(text))
            if self._block is None:
                self._console.print(line)
            else:
                self._block.above(line)


def _without_name(text: str, endpoint: str) -> str:
    """Replace the endpoint's long name by `the endpoint`, except where it is created.

    The name stays in a command, which has to work as printed.
    """
    if not endpoint or text.startswith(("created", "using")) or f"{endpoint} --" in text:
        return text
    return text.replace(endpoint, "the endpoint").replace("endpoint the ", "the ")


class Panel:
    """Draws the state of a run: steps, progress bar and figures, within the width."""

    def __init__(self, now: Snapshot) -> None:
        self._now = now

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw it."""
        now = self._now
        yield Text("")
        drawn = (_steps(now, times=True), _steps(now), _steps(now, names=False))
        yield next((line for line in drawn if line.cell_len <= options.max_width), drawn[-1])
        yield _bar(now)
        rows, endpoint = numbers(now)
        details = [now.detail] if now.step is Step.WAITING and now.detail else []
        for parts in (rows, endpoint, details):
            yield Parts(parts, indent=2)


def _steps(now: Snapshot, *, names: bool = True, times: bool = False) -> Text:
    """Draw the steps; the current one always has its name and time.

    Args:
        names: Whether to write the names of the other steps, instead of a mark each.
        times: Whether to write the durations of finished steps.
    """
    steps = Text("  ", no_wrap=True, overflow="ellipsis")
    current = _ORDER.index(now.step)
    for step, name in _STEPS.items():
        index = _ORDER.index(step)
        took_s = now.seconds.get(step.name.lower())
        if index < current and took_s is not None:
            time = f" {span(took_s)}" if times and took_s >= 1 else ""
            steps.append(f"✓ {name}{time}  " if names else "✓ ", style="green")
        elif index == current:
            steps.append(f"● {name} {span(took_s or 0.0)}  ", style="bold cyan")
        elif index > current:
            steps.append(f"○ {name}  " if names else "○ ", style="dim")
    steps.rstrip()
    return steps


def _bar(now: Snapshot) -> RenderableType:
    bar = Table.grid(padding=(0, 1), expand=True)
    bar.add_column(width=1)
    bar.add_column(ratio=1)
    bar.add_column(width=5, justify="right")
    done = now.done / max(now.rows, 1)
    bar.add_row("", ProgressBar(total=max(now.rows, 1), completed=now.done), f"{done:.0%}")
    return bar
