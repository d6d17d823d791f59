"""A random campaign: whole runs under random faults and random ends, checked after each.

A schedule is drawn from a seed alone, so that a failure can be replayed by its number:
`CAMPAIGN_SEED=17 CAMPAIGN_S=1 .venv/bin/python -m pytest -m soak tests/soak/test_campaign.py`.
"""

import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from tests.support.machine import Machine, Process
from tests.support.odd_machine import OddMachine
from tests.support.wait import wait_until
from together_emulator import FaultRule

End = Literal["nothing", "SIGINT", "SIGTERM", "SIGHUP", "SIGKILL", "machine"]
ENDS: tuple[End, ...] = ("nothing", "nothing", "SIGINT", "SIGTERM", "SIGHUP", "SIGKILL", "machine")

CLOCK_STEPS_S = (-90_000, -3_600, -7, 7, 3_600, 90_000)

QUICK = {"write_hang_s": 1, "idle_s": 5, "settle_s": 30, "abandon_s": 10}
"""A disk counts as hung at once, and is waited for as long as it hangs here."""

CODES = {0, 1, 2, 3, 4, 5, 130, 143, -signal.SIGHUP, 129}
"""The documented exit codes; a closed terminal may end a run by its signal."""


def _choice(finish_reason: object, content: object) -> list[dict[str, Any]]:
    message = {"role": "assistant", "content": content}
    return [{"index": 0, "finish_reason": finish_reason, "message": message}]


ODD: tuple[dict[str, Any], ...] = (
    {"choices": _choice(2, "odd"), "usage": {"prompt_tokens": "7"}},
    {"choices": _choice("stop", ["x"]), "usage": {"completion_tokens": 1e20}},
    {"choices": []},
    {"error": {"message": "no", "code": 503}},
)
"""Bodies of a 200 that no page promises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """What happens to one run.

    Attributes:
        quiet: Whether the API does nothing wrong.
        after: Answered rows after which the machine turns odd, then the end is brought about.
        clock_step_s: By how much the clock of all processes is set then, in seconds.
        hangs_s: For how long the disk hangs then, at least; 0 for not at all.
        sweeps: Whether a sweep comes by after that, on a clock of its own.
    """

    seed: int
    faults: tuple[FaultRule, ...]
    end: End
    quiet: bool
    after: int
    clock_step_s: int
    hangs_s: float
    sweeps: bool
    options: tuple[str, ...]

    def __str__(self) -> str:
        rules = ", ".join(f"{rule.action} {rule.method} {rule.path}" for rule in self.faults)
        return (
            f"seed {self.seed}: {self.end} after {self.after} rows, clock {self.clock_step_s:+} s, "
            f"disk hangs {self.hangs_s:.1f} s, {'sweep' if self.sweeps else 'no sweep'}; "
            f"{rules or 'no faults'}"
        )


def schedule(seed: int, rows: int) -> Schedule:
    """Return the schedule of a seed."""
    dice = random.Random(seed)
    rules: list[FaultRule] = []
    for _ in range(dice.randrange(4)):
        path = dice.choice(["/v2/", "/v1/chat/", "/deployments", "/endpoints", "."])
        action: Any = dice.choice(
            ["status", "delay", "reset_before", "reset_after", "truncate", "malformed", "not_json"]
        )
        more: dict[str, Any] = {"delay_s": dice.uniform(0.05, 0.8)}
        if action == "status":
            more = {"status": dice.choice([408, 409, 429, 500, 502, 503, 504, 524, 529])}
        rules.append(
            FaultRule(
                action=action,
                method=dice.choice([None, "GET", "POST", "PATCH", "DELETE"]),
                path=path,
                first=dice.randrange(1, 5),
                chance=dice.choice([0.5, 1.0]),
                **more,
            )
        )
    if dice.random() < 0.3:
        odd = dice.choice(ODD)
        rules.append(FaultRule(action="status", path="/v1/chat/", first=1, status=200, json=odd))
    quiet = not rules
    # Rows take their time, so that there is a middle to end in.
    rules.append(FaultRule(action="delay", path="^/v1/chat/", delay_s=0.15))
    return Schedule(
        seed=seed,
        faults=tuple(rules),
        end=dice.choice(ENDS),
        quiet=quiet,
        after=dice.randrange(rows),
        options=("--runner", "processes") if dice.random() < 0.2 else (),
        clock_step_s=dice.choice(CLOCK_STEPS_S) if dice.random() < 0.5 else 0,
        hangs_s=dice.uniform(0.1, 3.0) if dice.random() < 0.4 else 0.0,
        sweeps=dice.random() < 0.2,
    )


def play(machine: Machine, drawn: Schedule, key: str, odd: OddMachine | None = None) -> None:
    """Play a schedule to its end and the next run after it; check all that is promised.

    Args:
        odd: What makes disk and clock of the machine odd; None where there is no such thing.
    """
    machine.emulator.use_faults(*drawn.faults)
    first = machine.run(*drawn.options, timeouts=QUICK)
    with _odd(machine, first, drawn, odd):
        ended = _bring_about(machine, first, drawn)
        if drawn.hangs_s and odd is not None:
            # Nothing waits for the disk to come back.
            time.sleep(drawn.hangs_s)
            if first.alive and ended:
                wait_until(
                    lambda: machine.emulator.billing == 0, f"{drawn}: it bills on a hung disk"
                )
    code = first.wait(240)
    assert code in CODES or (ended and code == -signal.SIGKILL), f"{drawn}: exit {code}"
    if ended and drawn.end == "machine":
        machine.emulator.use_faults()
        machine.sweep()
    machine.emulator.use_faults()
    wait_until(lambda: machine.emulator.billing == 0, f"{drawn}: end of billing")
    again = machine.run()
    assert again.wait(240) in {0, 3}, f"{drawn}: {again.text}"
    wait_until(lambda: not machine.emulator.has_endpoints, f"{drawn}: deleted endpoint")
    assert machine.emulator.billing == 0, str(drawn)
    rows = machine.rows_in_output()
    assert rows == list(range(machine.rows)), f"{drawn}: rows {rows}"
    if drawn.quiet and drawn.end == "nothing":
        assert machine.answered() == machine.rows, f"{drawn}: rows were sent again"
    for process in (first, again):
        assert "Traceback (most recent call last)" not in process.text, f"{drawn}: {process.text}"
    for path in [*machine.output.rglob("*"), *machine.home.rglob("*")]:
        if path.is_file():
            assert key.encode() not in path.read_bytes(), f"{drawn}: the key is in {path}"


@contextmanager
def _odd(machine: Machine, run: Process, drawn: Schedule, odd: OddMachine | None) -> Iterator[None]:
    """Make the machine odd in the middle of a run; its disk works again after the block."""
    if odd is None or not (drawn.clock_step_s or drawn.hangs_s or drawn.sweeps):
        yield
        return
    # Before the first answer the run itself may wait for its disk, and nothing bills.
    wait_until(
        lambda: not run.alive or machine.answered() >= max(1, drawn.after), f"{drawn}: stuck"
    )
    odd.step_clock(drawn.clock_step_s)
    if drawn.sweeps:
        machine.sweep()
    try:
        if drawn.hangs_s:
            odd.hang()
        yield
    finally:
        odd.come_back()


def _bring_about(machine: Machine, run: Process, drawn: Schedule) -> bool:
    """Bring about the end once so many rows are answered; False if the run ended before."""
    if drawn.end == "nothing":
        return False
    wait_until(lambda: not run.alive or machine.answered() >= drawn.after, f"{drawn}: no progress")
    if not run.alive:
        return False
    if drawn.end == "machine":
        run.kill_all()
    elif drawn.end == "SIGKILL":
        run.signal(signal.SIGKILL)
    else:
        run.signal(signal.Signals[drawn.end], group=drawn.end == "SIGINT")
    return True
