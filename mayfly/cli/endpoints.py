"""Commands for endpoints by hand, the sweep, and the embedded endpoint on its own."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from cyclopts import App, Parameter
from rich.table import Table

from mayfly.cli.commands import command
from mayfly.cli.options import RUN, flag
from mayfly.cli.read_only import ApiOption, Json, Local, control_plane, show
from mayfly.cli.render import console as terminal
from mayfly.endpoints.admin import Action, EndpointAdmin, JobPreview, bounds, facts
from mayfly.endpoints.sweep import sweep as sweep_up
from mayfly.models.endpoint import Api, EndpointRef
from mayfly.models.errors import BadRequest
from mayfly.models.teardown import TeardownProof
from mayfly.storage.lease_store import LeaseStore, state_home


def sweep(
    *,
    dry_run: Annotated[bool, flag(RUN, "Only show what would be deleted.")] = False,
    api: ApiOption = "v2",
    local: Local = False,
    json: Json = False,
) -> int:
    """Run `mayfly sweep`."""
    console = terminal.console()
    with control_plane(api=api, local=local) as (plane, connection):
        book = LeaseStore(state_home(os.environ))
        on_step = (lambda _text: None) if json else console.print
        report = sweep_up(plane, book, connection, dry_run=dry_run, on_step=on_step)
    if json:
        show(report.as_dict())
    else:
        for line in report.lines():
            console.print(line, markup=False)
    return 4 if report.failed or report.damaged else 0


endpoints = App(
    name="endpoints",
    help=command("endpoints").text,
    help_epilogue=command("endpoints").examples,
    help_format="plaintext",
    result_action="return_value",
)


@contextmanager
def _hands(api: Api, *, local: bool = False, quiet: bool = False) -> Iterator[EndpointAdmin]:
    """Open what can be done by hand; `quiet` leaves the output to JSON."""
    console = terminal.console()

    def say(text: str) -> None:
        if not quiet:
            console.print(text, markup=False)

    with control_plane(api=api, local=local) as (plane, connection):
        yield EndpointAdmin(plane, LeaseStore.of(os.environ), connection, say=say)


def _tell(look: JobPreview, *, json: bool) -> int:
    if json:
        show(look)
        return 0
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", justify="right")
    table.add_column()
    for key, value in look.items():
        words = ", ".join(value) if isinstance(value, list) else _word(value)
        table.add_row(key.replace("_", " "), words)
    terminal.console().print(table)
    return 0


def _word(value: object) -> str:
    return "-" if value is None else str(value)


@endpoints.command(name="list")
def list_(*, api: ApiOption = "v2", local: Local = False, json: Json = False) -> int:
    """List the endpoints of the project, those of this namespace first."""
    with _hands(api, local=local) as hands:
        looks = hands.list_all()
    if json:
        show(looks)
        return 0
    table = Table(box=None, padding=(0, 2), header_style="bold")
    for column in ("name", "phase", "ready", "hardware", "$/h", "id"):
        table.add_column(column, no_wrap=column == "name")
    for look in looks:
        price = look["usd_per_h"]
        table.add_row(
            look["name"],
            look["phase"],
            _word(look["ready_replicas"]),
            look["hardware"],
            "-" if price is None else f"{price:.2f}",
            look["id"],
        )
    terminal.console().print(table if looks else "there are no endpoints in this project")
    return 0


@endpoints.command(name="show")
def show_(name: str, /, *, api: ApiOption = "v2", local: Local = False, json: Json = False) -> int:
    """Show one endpoint as it is now."""
    with _hands(api, local=local) as hands:
        return _tell(hands.show(name), json=json)


@endpoints.command
def start(
    name: str,
    /,
    *,
    replicas: Annotated[str, Parameter(help="N, or MIN-MAX to autoscale.")] = "1",
    api: ApiOption = "v2",
    json: Json = False,
) -> int:
    """Start a stopped endpoint; it bills from READY on. One that runs is left as it is."""
    wanted = bounds(replicas)
    with _hands(api, quiet=json) as hands:
        return _tell(hands.start(name, wanted), json=json)


@endpoints.command
def scale(name: str, replicas: str, /, *, api: ApiOption = "v2", json: Json = False) -> int:
    """Set the replicas of an endpoint: N, or MIN-MAX to autoscale; 0 stops it."""
    wanted = bounds(replicas)
    with _hands(api, quiet=json) as hands:
        return _tell(hands.scale(name, wanted), json=json)


@endpoints.command
def stop(
    name: str,
    /,
    *,
    api: ApiOption = "v2",
    yes: Annotated[bool, flag(RUN, "Even if a run is using it.")] = False,
    json: Json = False,
) -> int:
    """Stop an endpoint and wait until nothing bills."""
    with _hands(api, quiet=json) as hands:
        ref = hands.find(name)
        if not _agreed(hands, ref, "stop", yes=yes):
            return 2
        return _ended(hands.stop(ref), json=json)


@endpoints.command
def delete(
    name: str,
    /,
    *,
    api: ApiOption = "v2",
    yes: Annotated[bool, flag(RUN, "Even if mayfly did not make it or a run is using it.")] = False,
    json: Json = False,
) -> int:
    """Stop an endpoint, delete it, and read back that it is gone."""
    with _hands(api, quiet=json) as hands:
        ref = hands.find(name)
        if not _agreed(hands, ref, "delete", yes=yes):
            return 2
        return _ended(hands.delete(ref), json=json)


def _agreed(hands: EndpointAdmin, ref: EndpointRef, action: Action, *, yes: bool) -> bool:
    """Ask before what cannot be taken back; without a terminal it is refused (BadRequest)."""
    objection = None if yes else hands.objection(ref, action)
    if objection is None:
        return True
    if not sys.stdin.isatty():
        raise BadRequest(f"endpoint {ref.name}: {objection}; add --yes to {action} it")
    console = terminal.console()
    question = f"{ref.name}: {objection}. {action.capitalize()} it all the same? [y/N] "
    if console.input(question, markup=False).strip().lower() in {"y", "yes"}:
        return True
    console.print("nothing was done")
    return False


def _ended(proof: TeardownProof, *, json: bool) -> int:
    # People have been told each step as it was done.
    if json:
        show(facts(proof))
    return 0


def emulator(*tokens: Annotated[str, Parameter(allow_leading_hyphen=True)]) -> int:
    """Run `mayfly emulator`; all options are the emulator's own."""
    from together_emulator.cli import main  # noqa: PLC0415 - its server is needed by this only

    return main(list(tokens))
