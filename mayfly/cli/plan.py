"""`mayfly plan`: what `run` would do, without doing it."""

import time
from typing import Annotated

from mayfly.cli.options import JobOptions, parameter
from mayfly.cli.read_only import Json, control_plane, show
from mayfly.cli.render import console as terminal
from mayfly.cli.render.plan import plan_table
from mayfly.planning import plan as planning
from mayfly.planning import preview
from mayfly.storage.input_files import refuse_output_below
from mayfly.storage.run_folder import check_output
from mayfly.together.retry import with_retries


def plan(
    input: Annotated[str, parameter("input")],  # noqa: A002 - the contract's word
    /,
    *,
    options: JobOptions,
    output: Annotated[str | None, parameter("output")] = None,
    json: Json = False,
) -> int:
    """Run `mayfly plan`."""
    job = options.job(input, "out" if output is None else output)
    with control_plane(api=job.rental.api, local=options.local) as (plane, connection):
        look = preview.preview_job(job, connection, writes=False)
        if output is not None:
            refuse_output_below(input, output)
            check_output(output, look.manifest(time.time()))
        made = with_retries(lambda: planning.make_plan(look, plane))
    if json:
        show(made.as_dict())
    else:
        terminal.console().print(plan_table(made))
    return 0
