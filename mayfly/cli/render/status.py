"""The status of an output folder: its runs, on one screen."""

import json
import sys
import time
from typing import Any

from rich.console import Console, RenderableType

from mayfly.cli.render.console import is_live
from mayfly.cli.render.live_block import LiveBlock
from mayfly.cli.render.parts import BETWEEN, Parts
from mayfly.cli.render.plan import details_table
from mayfly.models.durations import span
from mayfly.models.teardown import how_it_ended
from mayfly.reporting.progress import STEP_LABELS
from mayfly.runs.status import read_status
from mayfly.storage.lease_store import LeaseStore
from mayfly.storage.output_location import is_remote

POLL_EVERY_S = 2.0
REMOTE_EVERY_S = 20.0
"""Interval at which a run on an object store updates its heartbeat there."""


def status_table(status: dict[str, Any]) -> RenderableType:
    """Draw a status: rows, tokens, live figures, cost, and endpoints that may still bill."""
    rows, tokens, now = status["rows"], status["tokens"], status["now"]
    table = details_table()
    table.add_row("job", f"{status['model']} over {status['input']}")
    failed = f", {rows['failed']:,} of them failed" if rows["failed"] else ""
    left = f", {rows['remaining']:,} remaining" if rows["remaining"] else ""
    table.add_row("rows", f"{rows['done']:,} of {rows['total']:,} done{failed}{left}")
    table.add_row("tokens", f"{tokens['prompt']:,} in, {tokens['completion']:,} out")
    table.add_row("state", status["outcome"])
    if now is not None:
        table.add_row("now", Parts(_now(now)))
        table.add_row("", f"{now['by']}, heartbeat {span(now['heard_s_ago'])} ago")
    runs = len(status["runs"])
    table.add_row(
        "cost", f"${status['cost']['usd']:.2f}" + (f", in {runs} runs" if runs > 1 else "")
    )
    for proof in status["teardowns_by_others"]:
        end = how_it_ended(gone=bool(proof["gone_at"]), existed=proof.get("existed", True))
        table.add_row("endpoint", f"{proof['name']} {end}, by the {proof['line']}")
    for lease in status["open_leases"]:
        table.add_row("endpoint", _lease(lease))
    return table


def _now(now: dict[str, Any]) -> list[str]:
    parts = [STEP_LABELS.get(now["phase"], now["phase"])]
    if now["phase"] == "inferring":
        parts += [
            f"{now['rows_per_s']:,.1f} rows/s",
            f"{now['tokens_per_s']:,.0f} tokens/s",
            f"{now['in_flight']:,} in flight of {now['limit']:,}",
        ]
        if now["left_s"] is not None:
            parts.append(f"{span(now['left_s'])} left")
    return parts


def _lease(lease: dict[str, Any]) -> str:
    price = f" at ${lease['usd_per_h']:.2f}/h" if lease["usd_per_h"] else ""
    return (
        f"{lease['name']} may still bill{price}; {lease['owner']}, heartbeat "
        f"{span(lease['heartbeat_s_ago'])} ago. `mayfly sweep` deletes it if that process has ended"
    )


def watch_status(folder: str, store: LeaseStore, console: Console, *, json: bool) -> None:
    """Refresh the status every two seconds until the run has ended; print lines in a pipe.

    Ctrl-C ends this command, not the run.
    """
    try:
        if json or not is_live(console):
            while _print_status(folder, store, console, as_json=json)["outcome"] == "running":
                time.sleep(REMOTE_EVERY_S if is_remote(folder) else POLL_EVERY_S)
            return
        block = LiveBlock(console)
        try:
            while (status := read_status(folder, store))["outcome"] == "running":
                block.show(status_table(status))
                time.sleep(REMOTE_EVERY_S if is_remote(folder) else POLL_EVERY_S)
        finally:
            block.end()
        console.print(status_table(status))
    except KeyboardInterrupt:
        return


def _print_status(
    folder: str, store: LeaseStore, console: Console, *, as_json: bool
) -> dict[str, Any]:
    status = read_status(folder, store)
    if as_json:
        sys.stdout.write(json.dumps(status, default=str) + "\n")
        sys.stdout.flush()
    else:
        rows, now = status["rows"], status["now"]
        live = BETWEEN + BETWEEN.join(_now(now)) if now else ""
        console.print(
            f"{rows['done']:,} of {rows['total']:,} rows{live} · ${status['cost']['usd']:.2f} · "
            f"{status['outcome']}",
            markup=False,
        )
    return status
