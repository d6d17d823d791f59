"""The crash matrix: the points at which a run is killed, and what must hold afterwards."""

import re
import signal
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.support.machine import Machine, Process
from tests.support.wait import wait_until
from together_emulator import FaultRule

RunEvent = Literal["before", "unanswered", "answered"]
MOMENTS: tuple[RunEvent, ...] = ("before", "unanswered", "answered")
_IDS = re.compile(r"/(proj|ep|dep|endpoint)[_-][^/]+")
_LOOKED_AT = 2
"""Of polls that only repeat during a wait, so many are cells."""


@dataclass(frozen=True)
class AtCall:
    """The run is killed at a call to the control plane.

    Attributes:
        path: The call's path, each id a wildcard.
        nth: Which of the calls with this method and path, from 1.
        moment: Before it takes effect; after that, before the answer; or after the answer.
    """

    method: str
    path: str
    nth: int
    moment: RunEvent

    def __str__(self) -> str:
        shape = self.path.removeprefix("^").removesuffix("$").replace("[^/]+", "*")
        return f"{self.moment} {self.method} {shape} #{self.nth}"

    def kill(self, machine: Machine, run: Process, *, whole: bool) -> bool:
        """Kill the run there; whether it came to that."""

        def there() -> bool:
            calls = [
                call
                for call in machine.emulator.calls()
                if call.method == self.method and re.search(self.path, call.path)
            ]
            if len(calls) < self.nth:
                return not run.alive
            call = calls[self.nth - 1]
            match self.moment:
                case "before":
                    return call.fault is not None
                case "unanswered":
                    return call.effect is not None
                case "answered":
                    return call.status is not None

        wait_until(there, f"{self}")
        return _kill(run, whole=whole)

    def rules(self) -> tuple[FaultRule, ...]:
        """Return the faults that hold the run at the call."""
        if self.moment == "answered":
            return ()
        return (
            FaultRule(
                action="hang_before" if self.moment == "before" else "hang_after",
                method=self.method,
                path=self.path,
                nth=(self.nth,),
            ),
        )


@dataclass(frozen=True)
class AtRows:
    """The run is killed when this share of its rows has been answered."""

    share: float

    def __str__(self) -> str:
        return f"at {self.share:.0%} of the rows"

    def kill(self, machine: Machine, run: Process, *, whole: bool) -> bool:
        """Kill the run there; whether it came to that."""
        wait_until(
            lambda: machine.answered() >= self.share * machine.rows or not run.alive,
            f"{self}",
        )
        return _kill(run, whole=whole)

    def rules(self) -> tuple[FaultRule, ...]:
        """Return none: rows are slow enough to be counted."""
        return ()


Cell = AtCall | AtRows
ROW_CELLS: tuple[Cell, ...] = (AtRows(0.1), AtRows(0.5), AtRows(0.9))


def _kill(run: Process, *, whole: bool) -> bool:
    if not run.alive:
        return False
    if whole:
        run.kill_all()
    else:
        run.signal(signal.SIGKILL)
        run.wait()
    return True


def cells_of(calls: list[tuple[str, str]]) -> list[Cell]:
    """Return a cell for each moment of each call of a whole run, and those at its rows.

    Calls before the look-up that precedes the create are left out but for the last: no lease is
    open yet, and no endpoint exists.
    """
    shapes = [(method, f"^{_IDS.sub('/[^/]+', path)}$") for method, path in calls]
    first = next(
        at for at, (method, path) in enumerate(shapes) if path.endswith(("endpoints$", "[^/]+/e$"))
    )
    seen: Counter[tuple[str, str]] = Counter()
    cells: list[Cell] = []
    polls = 0
    for at, shape in enumerate(shapes):
        seen[shape] += 1
        if at < first - 1:
            continue
        polls = polls + 1 if shape[0] == "GET" else 0
        if polls > 2 * _LOOKED_AT:
            continue
        cells.extend(AtCall(*shape, seen[shape], moment) for moment in MOMENTS)
    return [*cells, *ROW_CELLS]


@dataclass
class Outcome:
    """The result of one cell.

    Attributes:
        reached: Whether the run reached the point at which it was to be killed.
        stood: Whether an endpoint existed or billed at its death.
        stopped_s: Seconds from death until nothing billed.
        gone_s: Seconds from death until no endpoint existed.
        requests, rows: Requests answered in all, and rows.
        leaks: What was left and should not have been: of endpoints that exist or bill, and of
            leases, after the line of defence and again after the next run; counted, not asserted.
    """

    cell: str
    line: str
    reached: bool
    stood: bool = False
    billed: bool = False
    stopped_s: float = 0.0
    gone_s: float = 0.0
    requests: int = 0
    rows: int = 0
    cpu_s: float = 0.0
    leaks: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return dict(vars(self))


def left_of(machine: Machine, when: str) -> list[str]:
    """Return what is left on a machine: what exists, what bills, and open leases, one line each."""
    left = [f"endpoint {name} exists {when}" for name in machine.emulator.endpoints()]
    if machine.emulator.billing:
        left.append(f"{machine.emulator.billing} replica(s) bill {when}")
    return left + [f"lease {lease.name} is open {when}" for lease in machine.leases()]


def play(machine: Machine, cell: Cell, *, line: Literal["guardian", "sweep"]) -> Outcome:
    """Kill a run in a cell, let a line of defence end it, and let the next run finish.

    Raises:
        AssertionError: A row is missing or was paid twice, or the next run failed.
    """
    machine.emulator.use_faults(*cell.rules())
    run = machine.run()
    reached = cell.kill(machine, run, whole=line == "sweep")
    if not reached:
        assert run.wait() == 0, run.text
    died = time.monotonic()
    outcome = Outcome(str(cell), line, reached, rows=machine.rows)
    outcome.stood, outcome.billed = machine.emulator.has_endpoints, machine.emulator.billing > 0
    machine.emulator.use_faults()
    if line == "sweep":
        swept = machine.sweep()
        assert not swept["failed"], f"{cell}: {swept}"
        if machine.emulator.billing:
            outcome.leaks.append("bills after the sweep")
    with suppress(AssertionError):
        wait_until(lambda: machine.emulator.billing == 0, "end of billing")
        outcome.stopped_s = time.monotonic() - died
        wait_until(lambda: not machine.emulator.has_endpoints, "deleted endpoint")
        outcome.gone_s = time.monotonic() - died
        wait_until(lambda: not machine.leases(), "closed lease")
    outcome.leaks += left_of(machine, f"after the {line}")

    again = machine.run()
    assert again.wait() == 0, f"{cell}: the next run failed: {again.text}"
    machine.assert_complete()
    outcome.leaks += left_of(machine, "after the next run")
    outcome.requests = machine.answered()
    # What was in flight at the death, or back and on its way to the journal, is paid for and lost.
    twice = outcome.requests - machine.rows
    assert 0 <= twice <= 2 * machine.concurrency, f"{cell}: {twice} rows were paid twice"
    outcome.cpu_s = run.cpu_s + again.cpu_s
    return outcome
