"""`mayfly run`: look, plan, ask, and run the flow in this process."""

import atexit
import os
import signal
import sys
import time
from contextlib import ExitStack
from types import FrameType
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from flows.cli_options import RUN, JobOptions, flag
from flows.display import Display
from flows.plan_table import plan_table
from flows.prefect_server import TemporaryServer, configured_api_url
from flows.summary import summary
from tasks import planning, progress
from tasks.cloud.connection import Connection, connect
from tasks.cloud.patience import patiently
from tasks.core.errors import BadRequest, MayflyError
from tasks.core.job import Job
from tasks.storage.run_folder import check_output


def run(
    input: str,  # noqa: A002 - the contract's word
    /,
    *,
    output: Annotated[
        str,
        Parameter(help="Folder for the answers: new, empty, or of this same job (then resumed)."),
    ],
    options: JobOptions,
    yes: Annotated[bool, flag(RUN, "Do not ask before spending.")] = False,
) -> int:
    """Send every row of INPUT through a model and write the answers to a folder.

    Plans, creates the endpoint, awaits READY, infers, tears down, reports. Run it again with the
    same --output to resume: what is done is not sent again.

    Args:
        input: Parquet file, folder or glob; local or a URI. One row is one request.
    """
    job = options.job(input, output)
    console = Console(highlight=False)
    if not yes and not sys.stdin.isatty():
        raise BadRequest("run spends money and there is no terminal to ask in; add --yes to go on")
    with ExitStack() as stack:
        if options.local:
            from flows.embedded import embedded_endpoint  # noqa: PLC0415 - only --local needs it

            stack.enter_context(embedded_endpoint())
        connection = Connection.from_env(os.environ)
        server = None if configured_api_url(os.environ) else TemporaryServer()
        if server is not None:
            # Registered before Prefect is imported, so that Prefect's own exit handlers, which
            # send the last logs and events, run while the server still stands.
            atexit.register(server.stop)
        look = planning.look_first(job, connection)
        check_output(output, look.manifest(time.time()))
        with connect(job.rental.api, connection) as plane:
            plan = patiently(lambda: planning.make_plan(look, plane))
        console.print(plan_table(plan))
        if not yes and not agreed(console, plan):
            console.print("nothing was created")
            return 2
        if server is not None:
            os.environ["PREFECT_API_URL"] = server.wait()
        return run_here(job, console)


def agreed(console: Console, plan: planning.Plan) -> bool:
    """Ask whether the plan may be paid for."""
    answer = console.input(f"Rent this at ${plan.usd_per_h:.2f}/h until the batch is done? [y/N] ")
    return answer.strip().lower() in {"y", "yes"}


def run_here(job: Job, console: Console) -> int:
    """Run the flow in this process; return the exit code.

    The run's own outcome decides the code, not Prefect's state: that is lost when the Prefect
    server goes away, and an answer that was paid for is not.
    """
    # Prefect's log goes to its API; the terminal belongs to the display.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    received: list[int] = []

    def end(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        raise KeyboardInterrupt

    from flows.batch_inference import batch_inference  # noqa: PLC0415 - Prefect takes seconds

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    with progress.watch() as watched:
        try:
            with Display(console, watched):
                report = batch_inference(**{name: getattr(job, name) for name in Job.model_fields})
        except KeyboardInterrupt:
            code = 143 if received and received[0] != signal.SIGINT else 130
            console.print(f"interrupted; resume with the same command (exit {code})")
            return code
        except MayflyError:
            raise
    console.print(summary(report))
    return 3 if report["rows"]["failed"] else 0
