"""The progress of a run: its current state, its events and its time series.

The run updates it; a terminal, a log or a Prefect artifact reads snapshots. It belongs to this
process: the progress of a run in another process is read from its folder (`mayfly status`).
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Literal, NamedTuple

from mayfly.clock import SYSTEM_CLOCK, Clock
from mayfly.models.rows import EMPTY_TALLY, Tally
from mayfly.reporting.time_series import Series

RECENT_S = 10.0
"""Window of the current rates, in seconds."""


class Step(StrEnum):
    """The steps of a run, in order; each is timed. Their lower-case names are keys in reports."""

    PREVIEWING = "reading the input"
    PLANNING = "planning"
    CREATING = "creating the endpoint"
    WAITING = "waiting for READY"
    INFERRING = "sending rows"
    TEARING_DOWN = "tearing the endpoint down"
    REPORTING = "writing the report"
    DONE = "done"


STEP_LABELS = {
    "previewing": "preview",
    "planning": "plan",
    "creating": "create",
    "waiting": "wait for READY",
    "inferring": "inference",
    "tearing_down": "teardown",
    "reporting": "report",
}
"""Labels of the steps for people, by their names in reports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The state of a run at one moment.

    Attributes:
        resumed: Totals of earlier runs into the same output.
        tally: Totals of this run.
        retries: Requests of this run that were repeated, by reason: `HTTP 429 rate_limited`,
            `timeout`, `silence` (no connection), `hedge` (sent twice, because slow), ...
        copied: Duplicate rows, which share the answer of an identical request.
        endpoint: Name of the endpoint in use, "" before there is one.
        state: Its last state as the API reported it.
        seconds: Time spent in each step so far.
        recent_rows_per_s, recent_tokens_per_s: Rates over the last ten seconds; None before there
            are two samples.
    """

    step: Step = Step.PREVIEWING
    detail: str = ""
    rows: int = 0
    resumed: Tally = EMPTY_TALLY
    tally: Tally = EMPTY_TALLY
    retries: Mapping[str, int] = field(default_factory=dict)
    copied: int = 0
    in_flight: int = 0
    limit: int = 0
    ready_replicas: int = 0
    endpoint: str = ""
    state: str = ""
    hardware: str = ""
    price_usd_per_h: float = 0.0
    spent_usd: float = 0.0
    inferring_s: float = 0.0
    elapsed_s: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)
    recent_rows_per_s: float | None = None
    recent_tokens_per_s: float | None = None

    @property
    def all_done(self) -> Tally:
        """Totals of this run and of earlier ones into the same output."""
        return self.resumed + self.tally

    @property
    def done(self) -> int:
        """Rows with an answer or an error, earlier runs included."""
        return self.resumed.done + self.tally.done + self.copied

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
        """Seconds until the last row at the current throughput; None before there is one."""
        throughput = self.recent_rows_per_s or self.rows_per_s
        return (self.rows - self.done) / throughput if self.tally.done and throughput > 0 else None


def numbers(now: Snapshot) -> dict[str, Any]:
    """Return the live figures of a run as plain JSON values."""
    return {
        "at_s": round(now.elapsed_s, 3),
        "phase": now.step.name.lower(),
        "rows": {"total": now.rows, "done": now.done, "failed": now.tally.failed},
        "rows_per_s": round(now.recent_rows_per_s or now.rows_per_s, 3),
        "tokens_per_s": round(now.recent_tokens_per_s or now.tokens_per_s, 3),
        "in_flight": now.in_flight,
        "limit": now.limit,
        "ready_replicas": now.ready_replicas,
        "usd": round(now.spent_usd, 4),
        "left_s": None if now.left_s is None else round(now.left_s, 1),
    }


class RunEvent(NamedTuple):
    """An event of a run.

    Attributes:
        at_s: Seconds since the start.
        kind: A step began, the endpoint changed, or a message was logged.
        facts: Plain JSON values.
    """

    at_s: float
    kind: Literal["phase", "endpoint", "note"]
    text: str
    fields: dict[str, Any]


class Progress:
    """The current snapshot of a run, and the list of its events.

    Attributes:
        events: Events, oldest first; the list only grows. Empty before the run begins.
        series: Time series of the inference.
        report: The report, once it is written.
        error: The error that ended the run, if one did.
    """

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        # One that its holder may take again: a signal is answered with `log`, and may come while
        # the main thread is in here.
        self._lock = threading.RLock()
        self._snapshot = Snapshot()
        self.report: dict[str, Any] | None = None
        self.error: BaseException | None = None
        self._clock = clock
        self._began = self._step_began = clock.monotonic()
        self.events: list[RunEvent] = []
        self.series = Series(
            "rows", "failed", "prompt_tokens", "completion_tokens", "in_flight", "limit", "replicas"
        )

    @property
    def began(self) -> bool:
        """Whether the run has begun."""
        return bool(self.events)

    def begin(self) -> None:
        """Begin the run: time counts from here."""
        with self._lock:
            self._began = self._step_began = self._clock.monotonic()
            self.events.append(self._phase(Step.PREVIEWING))

    def enter(self, step: Step, detail: str = "") -> None:
        """Begin a step; the one before it ends."""
        with self._lock:
            now = self._clock.monotonic()
            seconds = dict(self._snapshot.seconds)
            before = self._snapshot.step.name.lower()
            seconds[before] = seconds.get(before, 0.0) + now - self._step_began
            self._step_began = now
            self._snapshot = replace(self._snapshot, step=step, detail=detail, seconds=seconds)
            self.events.append(self._phase(step))

    def update(self, **changes: object) -> None:
        """Replace fields of the snapshot."""
        with self._lock:
            before, self._snapshot = self._snapshot, replace(self._snapshot, **changes)  # type: ignore[arg-type]
            if _endpoint(before) != (now := _endpoint(self._snapshot)):
                text = f"endpoint {now['name']}: {now['state'] or 'not observed yet'}"
                self.events.append(RunEvent(self._at_s(), "endpoint", text, now))

    def log(self, text: str) -> None:
        """Add a message for people, unless it repeats the last one."""
        with self._lock:
            last = next((event for event in self.events[::-1] if event.kind == "note"), None)
            if last is None or last.text != text:
                self.events.append(RunEvent(self._at_s(), "note", text, {}))

    def sample(self) -> None:
        """Add the current figures to the time series, if the next sample is due."""
        with self._lock:
            now = self._snapshot
            if now.step is Step.INFERRING:
                self.series.add(self._at_s(), _figures(now))

    def snapshot(self) -> Snapshot:
        """Return the current state, including the time of the running step."""
        with self._lock:
            now = self._clock.monotonic()
            current = self._snapshot
            seconds = dict(current.seconds)
            name = current.step.name.lower()
            seconds[name] = seconds.get(name, 0.0) + now - self._step_began
            inferring = current.step is Step.INFERRING
            rate = self.series.rate
            return replace(
                current,
                seconds=seconds,
                elapsed_s=now - self._began,
                inferring_s=seconds.get(Step.INFERRING.name.lower(), 0.0),
                recent_rows_per_s=rate("rows", window_s=RECENT_S) if inferring else None,
                recent_tokens_per_s=(
                    rate("completion_tokens", window_s=RECENT_S) if inferring else None
                ),
            )

    def _at_s(self) -> float:
        return self._clock.monotonic() - self._began

    def _phase(self, step: Step) -> RunEvent:
        return RunEvent(self._at_s(), "phase", step.value, {"phase": step.name.lower()})


def _endpoint(now: Snapshot) -> dict[str, Any]:
    return {
        "name": now.endpoint,
        "hardware": now.hardware,
        "usd_per_h": now.price_usd_per_h,
        "state": now.state,
        "ready_replicas": now.ready_replicas,
    }


def _figures(now: Snapshot) -> dict[str, float]:
    return {
        "rows": now.tally.done,
        "failed": now.tally.failed,
        "prompt_tokens": now.tally.prompt_tokens,
        "completion_tokens": now.tally.completion_tokens,
        "in_flight": now.in_flight,
        "limit": now.limit,
        "replicas": now.ready_replicas,
    }
