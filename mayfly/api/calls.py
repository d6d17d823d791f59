"""`mayfly.run` and `mayfly.plan`, for scripts and notebooks."""

import os
import time
import uuid
from contextlib import nullcontext
from typing import Any, Unpack

from mayfly.api.options import Options
from mayfly.api.result import Planned, Result
from mayfly.cli.read_only import open_environment
from mayfly.cli.render.console import is_live
from mayfly.cli.render.notebook_block import notebook_display
from mayfly.cli.render.output import TerminalScreen
from mayfly.cli.run import execute_run, is_up
from mayfly.models.errors import BadRequest, RunStopped
from mayfly.models.job import Job
from mayfly.models.job_reference import as_keyword, make_job, settings
from mayfly.models.nearest import nearest
from mayfly.orchestration.temporary_server import configured_api_url, without_proxy_on_loopback
from mayfly.planning.plan import Plan, make_plan
from mayfly.planning.preview import preview_job
from mayfly.runs.environment import Environment
from mayfly.runs.handle import RunHandle
from mayfly.storage.frames import keep_table
from mayfly.storage.lease_store import state_home
from mayfly.storage.run_folder import check_free, check_output
from mayfly.together.factory import connect
from mayfly.together.retry import with_retries


def run(
    data: Any,
    *,
    model: str,
    prompt: str | None = None,
    output: str | os.PathLike[str] | None = None,
    local: bool = False,
    progress: bool | None = None,
    **options: Unpack[Options],
) -> Result:
    """Send every row through a model on a dedicated endpoint that lives as long as the batch.

    It runs the same flow as `mayfly run`, with the same guarantees, but does not ask for
    confirmation. It works in a notebook and inside a running event loop. An interrupt tears the
    endpoint down first; the same call with an `output` resumes.

    Args:
        data: A path, a glob or a URI; a pandas or polars DataFrame; a pyarrow Table.
        model: A catalogue name, or your own model by id, path or name.
        prompt: A Jinja2 template over the row's columns; without it a `messages` column is used,
            else a `prompt` column.
        output: Folder for the results: new, empty, or of an earlier run of the same job. None
            creates a new folder below MAYFLY_HOME, given by `Result.output`.
        local: Use the embedded emulator, whose answers are generated.
        progress: Whether to show the run's progress; None shows it in a terminal and a notebook.
        **options: The options of `mayfly run`, with underscores.

    Raises:
        BadRequest: The request is invalid; nothing was created.
        TerminalError: The run failed; the endpoint was deleted, and all answers are kept.
        TeardownFailed: An endpoint may still bill; the message says which.
    """
    job = _job(data, model=model, prompt=prompt, output=output, options=options)
    screen = TerminalScreen()
    if progress is None:
        progress = is_live(screen.console) or notebook_display() is not None
    with open_environment(api=job.rental.api, local=local) as environment:
        planned = _plan(job, environment, screen if progress else None)
        handle = RunHandle(environment=environment, plan=planned)
        recorded = _is_recorded(handle)
        code = 0
        try:
            with screen.follow(handle.progress) if progress else nullcontext():
                report = execute_run(handle, recorded=recorded)
        except RunStopped as stopped:
            if handle.progress.report is None:
                raise
            report, code = handle.progress.report, stopped.exit_code
        if not code and report["rows"]["failed"]:
            code = 3
        return Result(output=report["output"], report=report, exit_code=code)


def plan(
    data: Any,
    *,
    model: str,
    prompt: str | None = None,
    output: str | os.PathLike[str] | None = None,
    local: bool = False,
    **options: Unpack[Options],
) -> Planned:
    """Return the plan of the same call of `run`, without spending or creating anything.

    Raises:
        BadRequest: The request is invalid.
    """
    job = _job(data, model=model, prompt=prompt, output=output, options=options)
    with open_environment(api=job.rental.api, local=local) as environment:
        return Planned(_plan(job, environment, None))


def _is_recorded(handle: RunHandle) -> bool:
    """Return whether a Prefect server is configured, and responds."""
    api_url = configured_api_url(os.environ)
    if api_url is None:
        return False
    # Prefect's clients read the process's environment only. This adds loopback, and writes networks
    # so that they can be read; it stays, because another run may need it when this one ends.
    os.environ.update(without_proxy_on_loopback(os.environ))
    return is_up(api_url, handle.progress.log)


def _job(data: Any, *, model: str, prompt: str | None, output: Any, options: Options) -> Job:
    keywords = [setting.keyword for setting in settings()]
    for name in options:
        if name not in keywords:
            raise BadRequest(f"{name} is not an option{nearest(name, keywords)}")
    home = state_home(os.environ)
    if not isinstance(data, str | os.PathLike):
        data = keep_table(data, home / "tables")
    if output is None:
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
        output = home / "outputs" / name
    given: dict[str, Any] = {"model": model, "prompt": prompt, **options}
    return make_job(os.fspath(data), os.fspath(output), given, spell=as_keyword)


def _plan(job: Job, environment: Environment, screen: TerminalScreen | None) -> Plan:
    """Check and plan the job before anything is created."""
    log = screen.log if screen is not None else _nothing
    preview = preview_job(job, environment.connection.provider, log=log)
    check_output(job.output, preview.manifest(time.time()))
    check_free(job.output)
    with connect(job.rental.api, environment.connection) as plane:
        return with_retries(lambda: make_plan(preview, plane, environment.folders))


def _nothing(_text: str) -> None:
    """Ignore a message."""
