"""`mayfly run`: look, plan, ask, and run the flow in this process."""

import atexit
import importlib
import os
import signal
import sys
import threading
import time
from contextlib import ExitStack, suppress
from types import FrameType
from typing import Any, cast

from mayfly.cli.options import JobOptions
from mayfly.cli.read_only import here
from mayfly.cli.render.output import JsonScreen, Screen, TerminalScreen
from mayfly.models.errors import BadRequest, MayflyError, TeardownFailed, TerminalError
from mayfly.models.job import Job
from mayfly.orchestration.temporary_server import (
    ServerUnavailable,
    TemporaryServer,
    answers,
    configured_api_url,
    forget_what_nobody_takes,
    without_proxy_on_loopback,
)
from mayfly.planning.plan import Plan, make_plan
from mayfly.planning.preview import preview_job
from mayfly.reporting.progress import Progress, Snapshot, Step
from mayfly.runs.budget import check_budget
from mayfly.runs.handle import RunHandle
from mayfly.signals import (
    TERMINATION_SIGNALS,
    exit_code_of,
    interrupt_outside_imports,
    signals_so_far,
)
from mayfly.storage.output_location import paths_of
from mayfly.storage.run_folder import check_free, check_output, leaving_nothing_unless_begun
from mayfly.together.connection import Connection
from mayfly.together.factory import connect
from mayfly.together.retry import with_retries

SERVER_RESTART_S = 5.0
"""How long a configured Prefect server that refuses connections may take to come back."""


def run(
    input: str,  # noqa: A002 - the contract's word
    /,
    *,
    output: str,
    options: JobOptions,
    yes: bool,
    json: bool,
) -> int:
    """Run `mayfly run`."""
    job = options.job(input, output)
    if not yes and (json or not sys.stdin.isatty()):
        why = "with --json nothing is asked" if json else "there is no terminal to ask in"
        raise BadRequest(f"run spends money and {why}; add --yes to go on")
    screen: Screen = JsonScreen() if json else TerminalScreen()
    with ExitStack() as stack:
        # First of all, because it takes longest: its start-up goes on beside all that follows.
        configured = configured_api_url(os.environ)
        os.environ.update(without_proxy_on_loopback(os.environ))
        server = None if configured else start_prefect(options, screen)
        with screen.waiting("starting the embedded endpoint"):
            environment = stack.enter_context(here(api=job.rental.api, local=options.local))
        stack.enter_context(leaving_nothing_unless_begun(output))
        with screen.waiting("reading the input"):
            preview = preview_job(job, environment.connection.provider, log=screen.log)
            check_output(output, preview.manifest(time.time()))
            check_free(output)
        importing = threading.Thread(target=import_the_flow, name="import of Prefect", daemon=True)
        importing.start()
        # However this ends: an interpreter that exits in the middle of an import aborts.
        stack.callback(importing.join)
        with (
            screen.waiting("asking Together what can be rented"),
            connect(job.rental.api, environment.connection, log=screen.log) as plane,
        ):
            plan = with_retries(
                lambda: make_plan(preview, plane, environment.folders), log=screen.log
            )
        signals_so_far()
        screen.plan(plan)
        check_budget(plan, environment)
        # The embedded endpoint costs nothing.
        if not yes and not options.local and not agreed(plan):
            screen.log("nothing was created")
            return 2
        recorded = has_started(server, screen) if configured is None else is_up(configured, screen)
        with screen.waiting("loading Prefect"):
            importing.join()
        try:
            handle = RunHandle(environment=environment, plan=plan)
            return run_here(handle, screen, recorded=recorded)
        except MayflyError as error:
            screen.failed(str(error), error.exit_code)
            raise
        finally:
            forget_what_nobody_takes(configured_api_url(os.environ) or "")


def start_prefect(options: JobOptions, screen: Screen) -> TemporaryServer | None:
    """Start a Prefect server for this run, unless the request cannot work for want of a key.

    Returns:
        The server, which may take its time to answer; None where none can be started.
    """
    if not options.local:
        Connection.from_env(os.environ)
    try:
        server = TemporaryServer(os.environ)
    except OSError as error:
        say_no_record(screen, error)
        return None
    # Registered before Prefect is imported, so that Prefect's own exit handlers, which send the
    # last logs and events, run before the server ends.
    atexit.register(server.stop)
    # Prefect reads it when it is imported, which is long before the server answers.
    for name, value in server.environment().items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    return server


def has_started(server: TemporaryServer | None, screen: Screen) -> bool:
    """Wait for the temporary server; whether it answers. The run needs none."""
    if server is None:
        return False
    try:
        with screen.waiting("starting Prefect's temporary server (a PREFECT_API_URL saves this)"):
            server.wait()
    except ServerUnavailable as error:
        say_no_record(screen, error)
        return False
    return True


def is_up(api_url: str, screen: Screen) -> bool:
    """Whether the configured server answers, which may be restarting; the run needs none."""
    end = time.monotonic() + SERVER_RESTART_S
    while True:
        try:
            return answers(api_url, SERVER_RESTART_S)
        except OSError as error:
            why = str(getattr(error, "reason", error))
        if time.monotonic() > end:
            screen.log(
                f"the Prefect server at {api_url} does not answer ({why}); the run goes on without "
                "a record in Prefect"
            )
            return False
        time.sleep(0.5)


def say_no_record(screen: Screen, why: Exception) -> None:
    """Say that this run has no record in Prefect."""
    screen.log(
        f"Prefect's temporary server did not start: {why}; the run goes on without a record in "
        "Prefect (set PREFECT_API_URL to use a server of your own)"
    )


def import_the_flow() -> None:
    """Import Prefect and the flow, which takes seconds, while others are waited for."""
    # Prefect's log goes to its API; the terminal belongs to the display.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    # A server that is gone is given up after seconds, not after more than a minute.
    os.environ.setdefault("PREFECT_CLIENT_MAX_RETRIES", "3")
    # What goes wrong here goes wrong again, and is told, where the flow is needed.
    with suppress(Exception):
        importlib.import_module("mayfly.flows.batch_inference")


def agreed(plan: Plan) -> bool:
    """Ask whether the plan may be paid for."""
    answer = input(f"  Rent this at ${plan.usd_per_h:.2f}/h until the batch is done? [y/N] ")
    return answer.strip().lower() in {"y", "yes"}


def run_here(handle: RunHandle, screen: Screen, *, recorded: bool = True) -> int:
    """Run the flow in this process; return the exit code.

    The run's own outcome decides the code, not Prefect's state: that is lost when the Prefect
    server goes away, and an answer that was paid for is not.

    Args:
        handle: With the plan that was confirmed: it is what runs.
        recorded: Whether there is a Prefect server.
    """
    received = signals_so_far()
    progress = handle.progress
    announce_signals(received, progress)
    try:
        with screen.follow(progress):
            report = carried_out(handle, recorded=recorded)
    except KeyboardInterrupt:
        code = interrupted_with(received, handle)
        if progress.report:
            screen.end(progress.report, code)
        if handle.teardown_aborted:
            raise TeardownFailed(handle.teardown_aborted) from None
        screen.log(f"interrupted; resume with the same command (exit {code})")
        return code
    except MayflyError as error:
        if progress.report:
            screen.end(progress.report, error.exit_code)
        if isinstance(error, TeardownFailed):
            ended_after_all(handle, error)
        raise
    code = 3 if report["rows"]["failed"] else 0
    screen.end(report, code)
    return code


def announce_signals(received: list[int], progress: Progress) -> None:
    """Let a signal interrupt the run, and the first one say what it sets going."""

    def end(number: int, frame: FrameType | None) -> None:
        if not received:
            progress.log(ending(signal.Signals(number), progress.snapshot()))
        received.append(number)
        interrupt_outside_imports(number, frame)

    for number in TERMINATION_SIGNALS:
        signal.signal(number, end)


def interrupted_with(received: list[int], handle: RunHandle) -> int:
    """Return the exit code of a run that these signals have ended."""
    return TeardownFailed.exit_code if handle.teardown_aborted else exit_code_of(received)


def ending(received: signal.Signals, now: Snapshot) -> str:
    """Return what a signal sets going, in words."""
    if not now.endpoint or now.step in (Step.REPORTING, Step.DONE):
        return f"{received.name}: ending; no endpoint of this run stands"
    return (
        f"{received.name}: sending nothing more, and tearing the endpoint down, so that it stops "
        "billing; every answer that came back is kept"
    )


def ended_after_all(handle: RunHandle, error: TeardownFailed) -> None:
    """Say so when another line of defence has done meanwhile what the run could not.

    Raises:
        TerminalError: No lease on this output is open any more: nothing is left that bills.
    """
    assert handle.plan is not None  # noqa: S101 - of a run of this command
    assert handle.environment is not None  # noqa: S101
    output = str(paths_of(handle.plan.preview.job.output).folder.absolute())
    leases = handle.environment.leases.list()
    if not leases.damaged and all(lease.output != output for lease in leases.open):
        raise TerminalError(f"{error}; in the end it was torn down all the same") from error


def carried_out(handle: RunHandle, *, recorded: bool = True) -> dict[str, Any]:
    """Run the flow; how the run itself ended counts, whatever became of Prefect's record of it.

    Args:
        recorded: Whether there is a Prefect server; without one the steps run all the same.
    """
    from mayfly.flows.batch_inference import batch_inference, infer_batch  # noqa: PLC0415 - seconds
    from mayfly.orchestration.record import run_unrecorded  # noqa: PLC0415

    assert handle.plan is not None  # noqa: S101 - of a run of this command
    job, progress = handle.plan.preview.job, handle.progress
    if not recorded:
        return run_unrecorded(lambda: infer_batch(job, handle))
    try:
        flow = batch_inference.with_handle(handle)
        report = flow(**{name: getattr(job, name) for name in Job.model_fields})
        return cast("dict[str, Any]", report)
    except (MayflyError, KeyboardInterrupt):
        raise
    except Exception as error:
        if progress.error is not None:
            raise progress.error from error
        if progress.report is None:
            raise
        progress.log(f"Prefect has no record of the run's end: {type(error).__name__}: {error}")
        return progress.report
