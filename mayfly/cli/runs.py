"""`mayfly runs` and `mayfly cancel`: list the runs of this machine, and end one."""

import os
import sys
import time
from typing import Annotated, Any

from cyclopts import Parameter

from mayfly.cli.read_only import Json, show
from mayfly.cli.render import console as terminal
from mayfly.cli.render.fitting_table import Column, FittingTable
from mayfly.planning.pricing import dollars
from mayfly.runs.registered import cancel_run, list_runs


def runs(*, json: Json = False) -> int:
    """Run `mayfly runs`."""
    found = list_runs(os.environ)
    if json:
        show(found)
    elif found:
        terminal.console().print(_table(found))
    else:
        terminal.console().print("no runs on this machine yet (runs with --local are not listed)")
    return 0


def cancel(
    folder: Annotated[str, Parameter(name="DIR", help="The --output of the run.")],
    /,
    *,
    json: Json = False,
) -> int:
    """Run `mayfly cancel`."""
    out, notes = terminal.console(), terminal.console(sys.stderr)
    status = cancel_run(
        folder,
        os.environ,
        log=lambda text: notes.print(text, markup=False, soft_wrap=True),
    )
    if json:
        show(status)
        return 0
    rows, leases = status["rows"], status["open_leases"]
    ended = (
        f"endpoint {leases[0]['name']} may still bill: `mayfly sweep` tears it down"
        if leases
        else "it has no endpoint any more"
    )
    out.print(
        f"ended: {rows['done']:,} of {rows['total']:,} rows done, {ended}; "
        "run the same command again to resume",
        markup=False,
        soft_wrap=True,
    )
    return 0


def _table(found: list[dict[str, Any]]) -> FittingTable:
    started = [time.strftime("%F %H:%M", time.localtime(run["started_at"])) for run in found]
    return FittingTable(
        [
            Column(name="started", cells=started),
            Column(name="state", cells=[_state(run) for run in found]),
            Column(name="rows", cells=[_rows(run) for run in found], right=True),
            Column(
                name="cost",
                cells=["" if run["usd"] is None else dollars(run["usd"]) for run in found],
                right=True,
            ),
            Column(name="model", cells=[run["model"] for run in found], narrower={1: None}),
            Column(name="output", cells=[run["output"] for run in found]),
        ]
    )


def _state(run: dict[str, Any]) -> str:
    return str(run["outcome"]).partition(":")[0] if run["state"] == "ended" else str(run["state"])


def _rows(run: dict[str, Any]) -> str:
    rows = run["rows"]
    return "folder not found" if rows is None else f"{rows['done']:,} of {rows['total']:,}"
