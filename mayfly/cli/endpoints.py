"""The commands `sweep`, `endpoints` and `emulator`."""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Annotated, Literal

from cyclopts import App, Parameter
from rich.table import Table

from mayfly.cli.commands import command
from mayfly.cli.options import ARGUMENTS, OPTIONS, flag
from mayfly.cli.read_only import ApiOption, Json, Local, control_plane, open_environment, show
from mayfly.cli.render import console as terminal
from mayfly.cli.render.waiting import waiting
from mayfly.endpoints.admin import Action, EndpointAdmin, EndpointInfo, bounds, teardown_info
from mayfly.endpoints.sweep import GENERATIONS, sweep_all
from mayfly.models.endpoint import Api, EndpointRef
from mayfly.models.errors import BadRequest


def sweep(
    *,
    dry_run: Annotated[bool, flag(OPTIONS, "Only show what would be deleted.")] = False,
    api: Annotated[
        Api | None, Parameter(group=OPTIONS, help="Only this generation of the API; unset, both.")
    ] = None,
    local: Local = False,
    json: Json = False,
) -> int:
    """Run `mayfly sweep`."""
    console = terminal.console()

    def on_step(text: str) -> None:
        if not json:
            console.print(text, markup=False)

    with (
        open_environment(api=api or "v2", local=local) as environment,
        waiting(terminal.notes_console(), "fetching endpoints from Together"),
    ):
        report = sweep_all(
            environment.connection,
            environment.leases,
            apis=GENERATIONS if api is None else (api,),
            dry_run=dry_run,
            on_step=on_step,
        )
    if json:
        show(report.as_dict())
    else:
        for line in report.lines():
            console.print(line, markup=False)
    return 4 if report.failed or report.damaged else 0


Name = Annotated[str, Parameter(group=ARGUMENTS, help="A name, `slug/name` or an id.")]


def _usage(text: str) -> str:
    return f"Usage: mayfly endpoints {text} [OPTIONS]"


endpoints = App(
    name="endpoints",
    help=command("endpoints").text,
    help_epilogue=command("endpoints").examples,
    help_format="plaintext",
    result_action="return_value",
)


@contextmanager
def _admin(api: Api, *, local: bool = False, quiet: bool = False) -> Iterator[EndpointAdmin]:
    """Open the administration of endpoints; `quiet` prints no messages beside JSON."""
    console = terminal.console()

    def log(text: str) -> None:
        if not quiet:
            console.print(text, markup=False)

    with control_plane(api=api, local=local) as (plane, environment):
        yield EndpointAdmin(plane, environment.leases, environment.connection, log=log)


def _waiting() -> AbstractContextManager[None]:
    return waiting(terminal.notes_console(), "waiting for Together")


def _print_info(endpoint: EndpointInfo, *, json: bool) -> int:
    if json:
        show(endpoint)
        return 0
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", justify="right")
    table.add_column()
    for key, value in endpoint.items():
        text = ", ".join(value) if isinstance(value, list) else _text(value)
        table.add_row(key.replace("_", " "), text)
    terminal.console().print(table)
    return 0


def _text(value: object) -> str:
    return "-" if value is None else str(value)


@endpoints.command(name="list", help_epilogue="")
def list_(*, api: ApiOption = "v2", local: Local = False, json: Json = False) -> int:
    """List the endpoints of the project, those of this namespace first."""
    with _admin(api, local=local) as admin, _waiting():
        found = admin.list_all()
    if json:
        show(found)
        return 0
    table = Table(box=None, padding=(0, 2), header_style="bold")
    for column in ("name", "phase", "ready", "hardware", "$/h", "id"):
        table.add_column(column, no_wrap=column == "name")
    for each in found:
        price = each["usd_per_h"]
        table.add_row(
            each["name"],
            each["phase"],
            _text(each["ready_replicas"]),
            each["hardware"],
            "-" if price is None else f"{price:.2f}",
            each["id"],
        )
    terminal.console().print(table if found else "no endpoints in this project")
    return 0


@endpoints.command(name="show", help_epilogue="", usage=_usage("show NAME"))
def show_(name: Name, /, *, api: ApiOption = "v2", local: Local = False, json: Json = False) -> int:
    """Show the state of one endpoint."""
    with _admin(api, local=local) as admin, _waiting():
        found = admin.show(name)
    return _print_info(found, json=json)


@endpoints.command(help_epilogue="", usage=_usage("start NAME"))
def start(
    name: Name,
    /,
    *,
    replicas: Annotated[
        str, Parameter(group=OPTIONS, help="N, or MIN-MAX to autoscale. [default: 1]")
    ] = "1",
    api: ApiOption = "v2",
    json: Json = False,
) -> int:
    """Start a stopped endpoint; it bills from READY on. A running endpoint is not changed."""
    wanted = bounds(replicas)
    with _admin(api, quiet=json) as admin, _waiting():
        started = admin.start(name, wanted)
    return _print_info(started, json=json)


@endpoints.command(help_epilogue="", usage=_usage("scale NAME REPLICAS"))
def scale(
    name: Name,
    replicas: Annotated[str, Parameter(group=ARGUMENTS, help="N, or MIN-MAX to autoscale.")],
    /,
    *,
    api: ApiOption = "v2",
    json: Json = False,
) -> int:
    """Set the replicas of an endpoint: N, or MIN-MAX to autoscale; 0 stops it."""
    wanted = bounds(replicas)
    with _admin(api, quiet=json) as admin, _waiting():
        scaled = admin.scale(name, wanted)
    return _print_info(scaled, json=json)


@endpoints.command(help_epilogue="", usage=_usage("stop NAME"))
def stop(
    name: Name,
    /,
    *,
    api: ApiOption = "v2",
    yes: Annotated[bool, flag(OPTIONS, "Even if a run uses it.")] = False,
    json: Json = False,
) -> int:
    """Stop an endpoint and wait until billing has ended."""
    return _end("stop", name, api=api, yes=yes, json=json)


@endpoints.command(help_epilogue="", usage=_usage("delete NAME"))
def delete(
    name: Name,
    /,
    *,
    api: ApiOption = "v2",
    yes: Annotated[
        bool, flag(OPTIONS, "Even if mayfly did not create it, or a run uses it.")
    ] = False,
    json: Json = False,
) -> int:
    """Stop an endpoint, delete it, and confirm the deletion (404)."""
    return _end("delete", name, api=api, yes=yes, json=json)


def _end(action: Literal["stop", "delete"], name: str, *, api: Api, yes: bool, json: bool) -> int:
    """Stop or delete an endpoint, after a confirmation where it is needed; return the exit code."""
    with _admin(api, quiet=json) as admin:
        with _waiting():
            ref = admin.find(name)
        if not _confirmed(admin, ref, action, yes=yes):
            return 2
        with _waiting():
            proof = admin.stop(ref) if action == "stop" else admin.delete(ref)
    # Each step has already been printed.
    if json:
        show(teardown_info(proof))
    return 0


def _confirmed(admin: EndpointAdmin, ref: EndpointRef, action: Action, *, yes: bool) -> bool:
    """Ask for confirmation where it is needed; without a terminal, raise BadRequest."""
    with _waiting():
        objection = None if yes else admin.objection(ref, action)
    if objection is None:
        return True
    if not sys.stdin.isatty():
        raise BadRequest(f"endpoint {ref.name}: {objection}; add --yes to {action} it")
    console = terminal.console()
    question = f"{ref.name}: {objection}. {action.capitalize()} it anyway? [y/N] "
    if console.input(question, markup=False).strip().lower() in {"y", "yes"}:
        return True
    console.print("nothing was changed")
    return False


def emulator(*tokens: Annotated[str, Parameter(allow_leading_hyphen=True, validator=())]) -> int:
    """Run `mayfly emulator`; it parses its own options."""
    from together_emulator.cli import main  # noqa: PLC0415 - only this command needs its server

    return main(list(tokens))
