"""How far a run is, kept in one place for whoever wants to show it.

The supervisor of a run writes it; a terminal, a log or a Prefect artifact reads snapshots. It
belongs to this process: a run in another process is read from its folder (`mayfly status`).
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum

from tasks.core.rows import NOTHING, Tally


class Step(StrEnum):
    """The steps of a run, in order; each is timed."""

    LOOKING = "looking at the input"
    PLANNING = "planning"
    CREATING = "creating the endpoint"
    WAITING = "waiting for READY"
    INFERRING = "inferring"
    TEARING_DOWN = "tearing down"
    REPORTING = "reporting"
    DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One look at a run.

    Attributes:
        resumed: What earlier runs into the same output had done.
        tally: What this run has done.
        seconds: Time spent in each step so far.
    """

    step: Step = Step.LOOKING
    detail: str = ""
    rows: int = 0
    resumed: Tally = NOTHING
    tally: Tally = NOTHING
    in_flight: int = 0
    limit: int = 0
    ready_replicas: int = 0
    hardware: str = ""
    price_usd_per_h: float = 0.0
    spent_usd: float = 0.0
    inferring_s: float = 0.0
    elapsed_s: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def done(self) -> int:
        """Rows with an answer or an error, earlier runs included."""
        return self.resumed.done + self.tally.done

    @property
    def rows_per_s(self) -> float:
        """Rows per second of this run's inference."""
        return self.tally.done / self.inferring_s if self.inferring_s > 0 else 0.0

    @property
    def tokens_per_s(self) -> float:
        """Completion tokens per second of this run's inference."""
        return self.tally.completion_tokens / self.inferring_s if self.inferring_s > 0 else 0.0

    @property
    def left_s(self) -> float | None:
        """Seconds until the last row at this pace; None before there is a pace."""
        return (self.rows - self.done) / self.rows_per_s if self.tally.done else None


class Progress:
    """A snapshot that is replaced as the run goes on, and a list of what was said meanwhile."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._snapshot = Snapshot()
        self._began = time.monotonic()
        self._step_began = self._began
        self.lines: list[tuple[float, str]] = []
        """(seconds since the start, text): the run's story, in the order it happened."""

    def enter(self, step: Step, detail: str = "") -> None:
        """Begin a step; the one before it ends."""
        with self._lock:
            now = time.monotonic()
            seconds = dict(self._snapshot.seconds)
            before = self._snapshot.step.name.lower()
            seconds[before] = seconds.get(before, 0.0) + now - self._step_began
            self._step_began = now
            self._snapshot = replace(self._snapshot, step=step, detail=detail, seconds=seconds)

    def update(self, **changes: object) -> None:
        """Replace fields of the snapshot."""
        with self._lock:
            self._snapshot = replace(self._snapshot, **changes)  # type: ignore[arg-type]

    def add(self, tally: Tally) -> None:
        """Add rows that were answered."""
        with self._lock:
            self._snapshot = replace(self._snapshot, tally=self._snapshot.tally + tally)

    def say(self, text: str) -> None:
        """Tell whoever watches; a line for the terminal and the log."""
        with self._lock:
            self.lines.append((time.monotonic() - self._began, text))

    def snapshot(self) -> Snapshot:
        """Return the state now, with the running step's time included."""
        with self._lock:
            now = time.monotonic()
            current = self._snapshot
            seconds = dict(current.seconds)
            name = current.step.name.lower()
            seconds[name] = seconds.get(name, 0.0) + now - self._step_began
            return replace(
                current,
                seconds=seconds,
                elapsed_s=now - self._began,
                inferring_s=seconds.get(Step.INFERRING.name.lower(), 0.0),
            )


_watched: list[Progress] = []


@contextmanager
def watch() -> Iterator[list[Progress]]:
    """Collect the progress of runs that begin in this process while the block lasts."""
    _watched.clear()
    _collecting.set()
    try:
        yield _watched
    finally:
        _collecting.clear()


_collecting = threading.Event()


def begin() -> Progress:
    """Return the progress of a run that begins now."""
    progress = Progress()
    if _collecting.is_set():
        _watched.append(progress)
    return progress
