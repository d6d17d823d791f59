"""`mayfly plan`: what `run` would do, without doing it."""

import time
from dataclasses import replace

from mayfly.cli.read_only import control_plane, print_wait, show
from mayfly.cli.render import console as terminal
from mayfly.cli.render.plan import plan_table
from mayfly.cli.render.waiting import waiting
from mayfly.models.errors import BadRequest
from mayfly.models.job import Job
from mayfly.planning.plan import make_plan
from mayfly.planning.preview import preview_job
from mayfly.runs.budget import check_budget
from mayfly.storage.input_files import refuse_output_below
from mayfly.storage.run_folder import check_output
from mayfly.together.retry import with_retries


def show_plan(job: Job, *, local: bool, named_output: bool, json: bool) -> int:
    """Print the plan of a job; return the exit code.

    Args:
        named_output: Whether the user named an output, which is then checked too.
        json: Print JSON instead of a table.
    """
    with control_plane(api=job.rental.api, local=local) as (plane, environment):
        with waiting(terminal.notes_console(), "reading the input"):
            preview = preview_job(job, environment.connection.provider, writes=False)
            if named_output:
                refuse_output_below(job.input, job.output)
                check_output(job.output, preview.manifest(time.time()))
        with waiting(terminal.notes_console(), "fetching hardware offers from Together"):
            plan = with_retries(
                lambda: make_plan(preview, plane, environment.folders), log=print_wait
            )
        try:
            check_budget(plan, environment)
        except BadRequest as refusal:
            plan = replace(
                plan, warnings=(*plan.warnings, f"`mayfly run` would reject this: {refusal}")
            )
    if json:
        show(plan.as_dict())
    else:
        terminal.console().print(plan_table(plan, named_output=named_output))
    return 0
