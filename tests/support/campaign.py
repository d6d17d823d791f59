"""A random campaign: whole runs under random faults and random ends, checked after each.

A schedule is drawn from a seed alone, so that a failure can be replayed by its number:
`CAMPAIGN_SEED=17 CAMPAIGN_S=1 .venv/bin/python -m pytest -m soak tests/soak/test_campaign.py`.
"""

import random
import signal
from dataclasses import dataclass
from typing import Any, Literal

from tests.support.machine import Machine, Process
from tests.support.wait import wait_until
from together_emulator import FaultRule

End = Literal["nothing", "SIGINT", "SIGTERM", "SIGHUP", "SIGKILL", "machine"]
ENDS: tuple[End, ...] = ("nothing", "nothing", "SIGINT", "SIGTERM", "SIGHUP", "SIGKILL", "machine")

CODES = {0, 1, 2, 3, 4, 5, 130, 143, -signal.SIGHUP, 129}
"""The documented exit codes; a terminal that goes away may be told by its signal."""


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
        after: Answered rows after which the end is brought about.
    """

    seed: int
    faults: tuple[FaultRule, ...]
    end: End
    after: int
    options: tuple[str, ...]

    def __str__(self) -> str:
        rules = ", ".join(f"{rule.action} {rule.method} {rule.path}" for rule in self.faults)
        return f"seed {self.seed}: {self.end} after {self.after} rows; {rules or 'no faults'}"


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
    # Rows take their time, so that there is a middle to end in.
    rules.append(FaultRule(action="delay", path="^/v1/chat/", delay_s=0.15))
    return Schedule(
        seed=seed,
        faults=tuple(rules),
        end=dice.choice(ENDS),
        after=dice.randrange(rows),
        options=("--runner", "processes") if dice.random() < 0.2 else (),
    )


def play(stage: Machine, drawn: Schedule, key: str) -> None:
    """Play a schedule to its end and the next run after it; check all that is promised."""
    stage.emulator.use_faults(*drawn.faults)
    first = stage.run(*drawn.options)
    ended = _bring_about(stage, first, drawn)
    code = first.wait(240)
    assert code in CODES or (ended and code == -signal.SIGKILL), f"{drawn}: exit {code}"
    if ended and drawn.end == "machine":
        stage.emulator.use_faults()
        stage.sweep()
    stage.emulator.use_faults()
    wait_until(lambda: stage.emulator.billing == 0, f"{drawn}: something bills on")
    again = stage.run()
    assert again.wait(240) in {0, 3}, f"{drawn}: {again.text}"
    wait_until(lambda: not stage.emulator.has_endpoints, f"{drawn}: an endpoint is left")
    assert stage.emulator.billing == 0, str(drawn)
    rows = stage.rows_in_output()
    assert rows == list(range(stage.rows)), f"{drawn}: rows {rows}"
    for process in (first, again):
        assert "Traceback (most recent call last)" not in process.text, f"{drawn}: {process.text}"
    for path in [*stage.output.rglob("*"), *stage.home.rglob("*")]:
        if path.is_file():
            assert key.encode() not in path.read_bytes(), f"{drawn}: the key is in {path}"


def _bring_about(stage: Machine, run: Process, drawn: Schedule) -> bool:
    """Bring about the end once so many rows are answered; False if the run ended before."""
    if drawn.end == "nothing":
        return False
    wait_until(lambda: not run.alive or stage.answered() >= drawn.after, f"{drawn}: no progress")
    if not run.alive:
        return False
    if drawn.end == "machine":
        run.kill_all()
    elif drawn.end == "SIGKILL":
        run.signal(signal.SIGKILL)
    else:
        run.signal(signal.Signals[drawn.end], group=drawn.end == "SIGINT")
    return True
