"""Commands for endpoints by hand, the sweep, and the embedded endpoint on its own."""

import os
from typing import Annotated, Any

from cyclopts import App, Parameter
from rich.table import Table

from flows import terminal
from flows.cli_look import ApiOption, Json, Local, control_plane, show
from flows.cli_options import RUN, flag
from tasks.cloud.control_plane import ControlPlane
from tasks.cloud.teardown import tear_down
from tasks.core.endpoint import EndpointRef, Replicas
from tasks.core.errors import BadRequest
from tasks.storage.lease_file import LeaseBook, state_home
from tasks.sweeping import sweep as sweep_up

BY_HAND_BUDGET_S = 300.0


def sweep(
    *,
    dry_run: Annotated[bool, flag(RUN, "Only say what would be done.")] = False,
    api: ApiOption = "v2",
    local: Local = False,
    json: Json = False,
) -> int:
    """Find endpoints that an earlier run left behind, and tear them down.

    Ended is what carries mayfly's name in this namespace (MAYFLY_NAMESPACE) and has no live owner:
    a lease on this machine whose process has died, or a name whose time has passed.
    """
    console = terminal.console()
    with control_plane(api=api, local=local) as (plane, connection):
        book = LeaseBook(state_home(os.environ))
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
    help="Look at endpoints and change them by hand; NAME is a name, `slug/name` or an id.",
    help_format="plaintext",
    result_action="return_value",
)


def _found(plane: ControlPlane, name: str) -> EndpointRef:
    ref = plane.find(name)
    if ref is None:
        raise BadRequest(
            f"endpoint {name}: there is none of that name in project {plane.project}; "
            "see `mayfly endpoints list`"
        )
    return ref


def _looked_at(plane: ControlPlane, ref: EndpointRef) -> dict[str, Any]:
    seen = plane.observe(ref)
    return {
        "name": ref.name,
        "phase": str(seen.phase),
        "state": seen.state,
        "message": seen.message,
        "ready_replicas": seen.ready_replicas,
        "routed": seen.routed,
        "hardware": ref.hardware,
        "model_in_requests": ref.inference_name,
        "id": ref.endpoint_id,
        "deployments": list(ref.deployment_ids),
    }


@endpoints.command(name="list")
def list_(*, api: ApiOption = "v2", local: Local = False, json: Json = False) -> int:
    """List the endpoints of the project."""
    with control_plane(api=api, local=local) as (plane, _):
        looks = [_looked_at(plane, ref) for ref in plane.list_endpoints("")]
    if json:
        show(looks)
        return 0
    table = Table(box=None, padding=(0, 2), header_style="bold")
    for column in ("name", "phase", "ready", "hardware", "id"):
        table.add_column(column, no_wrap=column == "name")
    for look in looks:
        ready = "-" if look["ready_replicas"] is None else str(look["ready_replicas"])
        table.add_row(look["name"], look["phase"], ready, look["hardware"], look["id"])
    terminal.console().print(table if looks else "there are no endpoints in this project")
    return 0


@endpoints.command(name="show")
def show_(name: str, /, *, api: ApiOption = "v2", local: Local = False, json: Json = False) -> int:
    """Show one endpoint as it is now."""
    with control_plane(api=api, local=local) as (plane, _):
        look = _looked_at(plane, _found(plane, name))
    if json:
        show(look)
        return 0
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", justify="right")
    table.add_column()
    for key, value in look.items():
        table.add_row(key.replace("_", " "), str(value))
    terminal.console().print(table)
    return 0


@endpoints.command
def start(
    name: str,
    /,
    *,
    replicas: Annotated[str, Parameter(help="N, or MIN-MAX to autoscale.")] = "1",
    api: ApiOption = "v2",
) -> int:
    """Start a stopped endpoint; it bills from READY on."""
    return scale(name, replicas, api=api)


@endpoints.command
def scale(
    name: str,
    replicas: str,
    /,
    *,
    api: ApiOption = "v2",
) -> int:
    """Set the replicas of an endpoint: N, or MIN-MAX to autoscale."""
    low, _, high = replicas.partition("-")
    try:
        bounds = Replicas(minimum=int(low), maximum=int(high or low))
    except ValueError as error:
        raise BadRequest(f"replicas {replicas}: give N, or MIN-MAX with 1 <= MIN") from error
    with control_plane(api=api, local=False) as (plane, _):
        plane.scale(_found(plane, name), bounds)
    terminal.console().print(f"{name}: {bounds} asked for; see `mayfly endpoints show`")
    return 0


@endpoints.command
def stop(name: str, /, *, api: ApiOption = "v2") -> int:
    """Stop an endpoint and wait until nothing bills."""
    return _end(name, api=api, delete=False)


@endpoints.command
def delete(name: str, /, *, api: ApiOption = "v2") -> int:
    """Stop an endpoint, delete it, and read back that it is gone."""
    return _end(name, api=api, delete=True)


def _end(name: str, *, api: ApiOption, delete: bool) -> int:
    console = terminal.console()
    book = LeaseBook(state_home(os.environ))
    with control_plane(api=api, local=False) as (plane, _):
        ref = _found(plane, name)
        tear_down(
            plane,
            ref,
            policy="delete" if delete else "stop",
            line="by hand",
            budget_s=BY_HAND_BUDGET_S,
            on_step=console.print,
        )
    for lease in book.list().open if delete else ():
        if lease.name == ref.name:
            book.close(lease)
    return 0


def emulator(*tokens: Annotated[str, Parameter(allow_leading_hyphen=True)]) -> int:
    """Run the embedded Together-compatible server on its own, in the foreground.

    All options are the emulator's: try `mayfly emulator --port 8080`, or `--help`.
    """
    from emulator.cli import main  # noqa: PLC0415 - its server is needed by this only

    return main(list(tokens))
