"""What a person sees while a run goes on: a live panel in a terminal, plain lines elsewhere."""

import threading
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mayfly.cli.render.console import is_live
from mayfly.models.durations import span
from mayfly.reporting.progress import Progress, Snapshot, Step

TERMINAL_EVERY_S = 0.25
PLAIN_EVERY_S = 10.0
_STEPS = {
    Step.LOOKING: "look",
    Step.PLANNING: "plan",
    Step.CREATING: "create",
    Step.WAITING: "wait",
    Step.INFERRING: "infer",
    Step.TEARING_DOWN: "tear down",
    Step.REPORTING: "report",
}
_ORDER = list(Step)


def numbers(look: Snapshot) -> list[str]:
    """Return the live numbers of a run: what has been done and how fast, then by what."""
    rows = [f"{look.done:,} of {look.rows:,} rows"]
    rent = []
    if look.tally.failed:
        rows.append(f"{look.tally.failed:,} with an error")
    if look.step is Step.INFERRING:
        rows_per_s = look.recent_rows_per_s or look.rows_per_s
        tokens_per_s = look.recent_tokens_per_s or look.tokens_per_s
        rows += [f"{rows_per_s:,.1f} rows/s", f"{tokens_per_s:,.0f} tokens/s"]
        rent.append(f"{look.in_flight:,} in flight of {look.limit:,}")
        if look.left_s is not None:
            rows.append(f"{span(look.left_s)} left")
    if look.ready_replicas:
        rent.append(f"{look.ready_replicas} replica{'s' if look.ready_replicas > 1 else ''} ready")
    if look.price_usd_per_h:
        rent.append(f"${look.spent_usd:.2f} at ${look.price_usd_per_h:.2f}/h a replica")
    return [" · ".join(rows), " · ".join(rent)]


class Display:
    """Follows a run until the block ends; the run itself writes nothing to the terminal."""

    def __init__(self, console: Console, progress: Progress) -> None:
        self._console = console
        self._progress = progress
        self._told = 0
        self._over = threading.Event()
        self._live: Live | None = None
        self._thread = threading.Thread(target=self._follow, name="display", daemon=True)

    def __enter__(self) -> Self:
        if is_live(self._console):
            self._live = Live(
                console=self._console, auto_refresh=False, transient=True, redirect_stderr=False
            )
            self._live.start()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        self._tell()
        if self._live is not None:
            self._live.update(Text(""), refresh=True)
            self._live.stop()

    def _follow(self) -> None:
        every_s = TERMINAL_EVERY_S if self._live is not None else 0.5
        ticks = 0
        while not self._over.wait(every_s):
            ticks += 1
            self._tell()
            if not self._progress.began:
                continue
            look = self._progress.snapshot()
            if self._live is not None:
                self._live.update(panel(look), refresh=True)
            elif look.step is Step.INFERRING and ticks % int(PLAIN_EVERY_S / every_s) == 0:
                line = " · ".join(part for part in numbers(look) if part)
                self._console.print(Text(f"{span(look.elapsed_s):>10}  {line}"))

    def _tell(self) -> None:
        progress = self._progress
        for moment in progress.story[self._told :]:
            self._told += 1
            if moment.kind == "endpoint":
                continue
            if moment.kind == "phase" and (self._live is not None or moment.text == Step.DONE):
                continue
            line = Table.grid(padding=(0, 2))
            line.add_column(width=10, justify="right", style="dim")
            line.add_column(overflow="fold")
            line.add_row(span(moment.at_s), Text(_once(moment.text, progress.snapshot().endpoint)))
            self._console.print(line)


def _once(text: str, endpoint: str) -> str:
    """Say `the endpoint` for its long name, but where it is made.

    In a command it stays as it is too: that has to work as it is written.
    """
    if not endpoint or text.startswith(("created", "using")) or f"{endpoint} --" in text:
        return text
    return text.replace(endpoint, "the endpoint").replace("endpoint the ", "the ")


def panel(look: Snapshot) -> RenderableType:
    """Draw a run as it is now: the steps, a bar, the numbers; no line longer than the terminal."""
    steps = Text("  ", no_wrap=True, overflow="ellipsis")
    now = _ORDER.index(look.step)
    for step, word in _STEPS.items():
        index = _ORDER.index(step)
        took = look.seconds.get(step.name.lower())
        if index < now and took is not None:
            steps.append(f"✓ {word}{f' {span(took)}' if took >= 1 else ''}  ", style="green")
        elif index == now:
            steps.append(f"● {word} {span(took or 0.0)}  ", style="bold cyan")
        elif index > now:
            steps.append(f"○ {word}  ", style="dim")
    bar = Table.grid(padding=(0, 1), expand=True)
    bar.add_column(width=1)
    bar.add_column(ratio=1)
    bar.add_column(width=5, justify="right")
    done = look.done / max(look.rows, 1)
    bar.add_row("", ProgressBar(total=max(look.rows, 1), completed=look.done), f"{done:.0%}")
    body: list[RenderableType] = [Text(""), steps, bar]
    lines = [*numbers(look), look.detail if look.step is Step.WAITING else ""]
    body += [Text(f"  {line}", no_wrap=True, overflow="ellipsis") for line in lines if line]
    return Group(*body)
