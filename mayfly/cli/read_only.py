"""The read-only commands `status`, `hardware` and `history`; none loads Prefect or Parquet."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Annotated, Any

from cyclopts import Parameter

from mayfly.cli.options import OPTIONS, flag, parameter
from mayfly.cli.render import console as terminal
from mayfly.cli.render.hardware import hardware_table
from mayfly.cli.render.waiting import waiting
from mayfly.models.endpoint import Api
from mayfly.models.errors import BadRequest, CredentialsRefused
from mayfly.runs.environment import Environment
from mayfly.storage.lease_store import LeaseStore
from mayfly.together.control_plane import ControlPlane
from mayfly.together.factory import connect
from mayfly.together.retry import with_retries
from mayfly.together.suggestions import near_names

Json = Annotated[bool, flag(OPTIONS, "JSON for scripts instead of a table.")]
Local = Annotated[bool, flag(OPTIONS, "Use the local emulator.")]
ApiOption = Annotated[Api, parameter("rental.api", group=OPTIONS)]


@contextmanager
def open_environment(*, api: Api, local: bool) -> Iterator[Environment]:
    """Yield this process's environment, or with `local` that of an embedded endpoint."""
    if not local:
        yield Environment.of(os.environ)
        return
    from mayfly.cli.local_emulator import embedded_endpoint  # noqa: PLC0415 - only --local needs it

    with embedded_endpoint(os.environ, api) as environment:
        yield environment


@contextmanager
def control_plane(*, api: Api, local: bool) -> Iterator[tuple[ControlPlane, Environment]]:
    """Open the control plane of the environment, or of the embedded endpoint."""
    with open_environment(api=api, local=local) as environment:
        try:
            with ExitStack() as stack:
                with waiting(terminal.notes_console(), "connecting to Together"):
                    plane = stack.enter_context(
                        connect(api, environment.connection, log=print_wait)
                    )
                yield plane, environment
        except CredentialsRefused as refusal:
            raise BadRequest(str(refusal)) from refusal


def print_wait(text: str) -> None:
    """Print what the command waits for, beside its output."""
    terminal.notes_console().print(text, markup=False, soft_wrap=True)


def show(value: Any) -> None:
    """Print JSON for scripts.

    Raises:
        BadRequest: Standard output cannot be written: a script must not read half of the JSON.
    """
    try:
        sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        terminal.silence(sys.stdout)
        raise BadRequest(f"standard output cannot be written: {error.strerror}") from error


def hardware(
    *,
    model: Annotated[
        str | None, Parameter(group=OPTIONS, help="Only hardware that can deploy this model.")
    ] = None,
    api: ApiOption = "v2",
    local: Local = False,
    json: Json = False,
) -> int:
    """Run `mayfly hardware`."""
    with (
        control_plane(api=api, local=local) as (plane, _),
        waiting(terminal.notes_console(), "fetching hardware offers from Together"),
    ):
        offers = with_retries(
            plane.all_hardware if model is None else lambda: plane.offers(model), log=print_wait
        )
    offers = sorted(offers, key=lambda offer: (offer.price_usd_per_h, offer.hardware))
    if json:
        show([offer.as_dict() for offer in offers])
    else:
        terminal.console().print(hardware_table(offers))
    return 0


def models(
    search: Annotated[str | None, Parameter(help="Only names that contain this text.")] = None,
    /,
    *,
    mine: Annotated[
        bool, flag(OPTIONS, "The project's own models (fine-tunes, uploads, adapters).")
    ] = False,
    api: ApiOption = "v2",
    local: Local = False,
    json: Json = False,
) -> int:
    """Run `mayfly models`."""
    from mayfly.cli.render.models import model_table  # noqa: PLC0415

    with (
        control_plane(api=api, local=local) as (plane, _),
        waiting(terminal.notes_console(), "fetching models from Together"),
    ):
        entries = with_retries(lambda: plane.models(mine=mine), log=print_wait)
    found = sorted(
        (entry for entry in entries if (search or "").lower() in entry.name.lower()),
        key=lambda entry: entry.name.lower(),
    )
    if json:
        show([entry.as_dict() for entry in found])
        return 0
    if found:
        terminal.console().print(model_table(found, mine=mine))
        return 0
    near = near_names(search, [entry.name for entry in entries]) if search else []
    what = "no model of your project" if mine else "no model of the catalogue"
    hint = f"; similar: {', '.join(near)}" if near else ""
    terminal.console().print(
        f"{what}{f' has {search} in its name' if search else ''}{hint}", markup=False
    )
    return 0


def status(
    folder: Annotated[str, Parameter(name="DIR", help="The --output of the run.")],
    /,
    *,
    watch: Annotated[bool, flag(OPTIONS, "Refresh until the run has ended.")] = False,
    json: Json = False,
) -> int:
    """Run `mayfly status`."""
    from mayfly.cli.render.status import status_table, watch_status  # noqa: PLC0415 - pyarrow, for this only
    from mayfly.runs.status import read_status  # noqa: PLC0415

    out, leases = terminal.console(), LeaseStore.of(os.environ)
    if watch:
        watch_status(folder, leases, out, json=json)
        return 0
    with waiting(terminal.notes_console(), "reading the run"):
        found = read_status(folder, leases)
    if json:
        show(found)
    else:
        out.print(status_table(found))
    return 0


def history(
    *,
    by: Annotated[
        str | None, Parameter(name="--by", help="Sum up by the values of this tag.", group=OPTIONS)
    ] = None,
    json: Json = False,
) -> int:
    """Run `mayfly history`."""
    from mayfly.cli.render.history import by_tag, history_table  # noqa: PLC0415
    from mayfly.storage.history_store import read_history  # noqa: PLC0415

    runs = read_history(os.environ)
    if json:
        show(runs if by is None else by_tag(runs, by))
        return 0
    terminal.console().print(history_table(runs, by=by))
    return 0
