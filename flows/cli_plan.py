"""`mayfly plan`: what `run` would do, without doing it."""

import time
from typing import Annotated

from cyclopts import Parameter

from flows import terminal
from flows.cli_look import Json, control_plane, show
from flows.cli_options import JobOptions
from flows.plan_table import plan_table
from tasks.cloud.patience import patiently
from tasks.running import planning
from tasks.storage.run_folder import check_output


def plan(
    input: str,  # noqa: A002 - the contract's word
    /,
    *,
    options: JobOptions,
    output: Annotated[
        str | None, Parameter(help="Folder for the answers, if it is known already.")
    ] = None,
    json: Json = False,
) -> int:
    """Show what `run` would do: the data, the hardware, the price. Nothing is created or spent.

    Args:
        input: Parquet file, folder or glob; local or a URI.
    """
    job = options.job(input, "out" if output is None else output)
    with control_plane(api=job.rental.api, local=options.local) as (plane, connection):
        look = planning.look_first(job, connection)
        if output is not None:
            check_output(output, look.manifest(time.time()))
        made = patiently(lambda: planning.make_plan(look, plane))
    if json:
        show(made.as_dict())
    else:
        terminal.console().print(plan_table(made))
    return 0
