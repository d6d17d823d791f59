"""What a person sees while a run goes on: a live panel in a terminal, plain lines elsewhere."""

import threading
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tasks.core.span import span
from tasks.progress import Progress, Snapshot, Step

TERMINAL_EVERY_S = 0.25
PLAIN_EVERY_S = 10.0
_STEPS = (Step.LOOKING, Step.PLANNING, Step.CREATING, Step.WAITING, Step.INFERRING)
_STEPS_AFTER = (Step.TEARING_DOWN, Step.REPORTING)


def numbers(look: Snapshot) -> str:
    """Return the live numbers of a run in one line."""
    parts = [f"{look.done:,}/{look.rows:,} rows"]
    if look.tally.failed:
        parts.append(f"{look.tally.failed:,} with an error")
    if look.step is Step.INFERRING:
        parts.append(f"{look.rows_per_s:,.1f} rows/s")
        parts.append(f"{look.tokens_per_s:,.0f} tokens/s")
        parts.append(f"{look.in_flight} in flight (limit {look.limit})")
    if look.ready_replicas:
        word = "replica" if look.ready_replicas == 1 else "replicas"
        parts.append(f"{look.ready_replicas} {word}")
    if look.price_usd_per_h:
        parts.append(f"${look.spent_usd:.2f}")
    if look.step is Step.INFERRING and look.left_s is not None:
        parts.append(f"{span(look.left_s)} left")
    return " · ".join(parts)


class Display:
    """Follows a run until the block ends; the run itself writes nothing to the terminal."""

    def __init__(self, console: Console, watched: list[Progress]) -> None:
        self._console = console
        self._watched = watched
        self._said = 0
        self._step: Step | None = None
        self._over = threading.Event()
        self._live: Live | None = None
        self._thread = threading.Thread(target=self._follow, name="display", daemon=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
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
            self._live.stop()

    def _follow(self) -> None:
        every_s = TERMINAL_EVERY_S if self._live is not None else 0.5
        ticks = 0
        while not self._over.wait(every_s):
            ticks += 1
            self._tell()
            if not self._watched:
                continue
            look = self._watched[-1].snapshot()
            if self._live is not None:
                self._live.update(panel(look), refresh=True)
            elif look.step is Step.INFERRING and ticks % int(PLAIN_EVERY_S / every_s) == 0:
                self._console.print(f"  {numbers(look)}", highlight=False)

    def _tell(self) -> None:
        if not self._watched:
            return
        for at_s, text in self._watched[-1].lines[self._said :]:
            self._said += 1
            self._console.print(f"[dim]{span(at_s):>10}[/dim]  {text}", highlight=False)


def panel(look: Snapshot) -> RenderableType:
    """Draw a run as it is now: the steps, a bar, the numbers."""
    steps = Text("  ")
    seen = list(Step).index(look.step)
    for step in (*_STEPS, *_STEPS_AFTER):
        index = list(Step).index(step)
        took = look.seconds.get(step.name.lower())
        if index < seen and took is not None:
            steps.append(f"✓ {step.name.lower().replace('_', ' ')} {span(took)}  ", style="green")
        elif index == seen:
            steps.append(f"● {step.value} {span(took or 0.0)}  ", style="bold cyan")
        elif index > seen:
            steps.append(f"○ {step.name.lower().replace('_', ' ')}  ", style="dim")
    grid = Table.grid(padding=(0, 1))
    grid.add_row(
        "  ",
        ProgressBar(total=max(look.rows, 1), completed=look.done, width=40),
        f"{100 * look.done / max(look.rows, 1):.0f} %",
        Text(look.hardware, style="dim"),
    )
    body: list[RenderableType] = [Text(""), steps, grid, Text(f"  {numbers(look)}")]
    if look.detail:
        body.append(Text(f"  {look.detail}", style="dim"))
    return Group(*body)
