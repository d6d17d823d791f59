"""`mayfly run`: preview, plan, confirm, and run the flow in this process."""

import atexit
import importlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from types import FrameType
from typing import Any, cast

from mayfly.cli.options import JobOptions
from mayfly.cli.read_only import open_environment
from mayfly.cli.render.output import JsonScreen, Screen, TerminalScreen
from mayfly.cli.render.waiting import waiting_quietly
from mayfly.models.errors import BadRequest, MayflyError, TeardownFailed, TerminalError
from mayfly.models.job import Job
from mayfly.orchestration.temporary_server import (
    ServerUnavailable,
    TemporaryServer,
    configured_api_url,
    drop_unsent_events,
    server_status,
    without_proxy_on_loopback,
)
from mayfly.planning.plan import Plan, make_plan
from mayfly.planning.preview import preview_job
from mayfly.reporting.progress import Snapshot, Step
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
"""Seconds for which a configured Prefect server may refuse connections while it restarts."""


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
    return code_of(
        lambda ended: _run(input, output, options=options, yes=yes, json=json, ended=ended)
    )


def code_of(body: Callable[[list[int]], int]) -> int:
    """Return the exit code of a run, also where a signal comes after its end.

    Args:
        body: Appends the code as soon as the run has ended and said how; what follows cleans up.
    """
    ended: list[int] = []
    try:
        return body(ended)
    except KeyboardInterrupt:
        # Its handler would say that nothing was created.
        if not ended:
            raise
        return ended[0]


def _run(
    input: str,  # noqa: A002 - the contract's word
    output: str,
    *,
    options: JobOptions,
    yes: bool,
    json: bool,
    ended: list[int],
) -> int:
    job = options.job(input, output)
    if not yes and (json or not sys.stdin.isatty()):
        why = "--json asks no questions" if json else "there is no terminal to confirm it in"
        raise BadRequest(f"run spends money, and {why}; add --yes to confirm")
    configured = configured_api_url(os.environ)
    if configured is None and job.limits.approve_above_usd is not None:
        # Nobody sees the UI of a temporary server: the run would wait for a day.
        raise BadRequest(
            "--approve-above asks in Prefect, and no server is configured; set PREFECT_API_URL, or "
            "leave it out and let run ask in the terminal"
        )
    screen: Screen = JsonScreen() if json else TerminalScreen()
    with ExitStack() as stack:
        # First, because it takes longest: it starts in the background.
        os.environ.update(without_proxy_on_loopback(os.environ))
        server = None if configured else start_prefect(options, screen)
        with screen.waiting("starting the local emulator"):
            environment = stack.enter_context(
                open_environment(api=job.rental.api, local=options.local)
            )
        stack.enter_context(leaving_nothing_unless_begun(output))
        with screen.waiting("reading the input"):
            preview = preview_job(job, environment.connection.provider, log=screen.log)
            check_output(output, preview.manifest(time.time()))
            check_free(output)
        importing = threading.Thread(target=import_the_flow, name="import of Prefect", daemon=True)
        importing.start()
        # Always wait for it: an interpreter that exits during an import aborts.
        stack.callback(importing.join)
        with (
            screen.waiting("fetching hardware offers from Together"),
            connect(job.rental.api, environment.connection, log=screen.log) as plane,
        ):
            plan = with_retries(
                lambda: make_plan(preview, plane, environment.folders), log=screen.log
            )
        signals_so_far()
        screen.plan(plan)
        check_budget(plan, environment)
        # The emulator costs nothing, and a finished job creates nothing.
        if not (yes or options.local or plan.finished or confirmed(plan)):
            screen.log("nothing was created")
            return 2
        recorded = (
            has_started(server, screen) if configured is None else is_up(configured, screen.log)
        )
        with screen.waiting("loading Prefect"):
            importing.join()
        try:
            handle = RunHandle(environment=environment, plan=plan)
            ended.append(run_flow(handle, screen, recorded=recorded))
            return ended[0]
        except MayflyError as error:
            screen.failed(str(error), error.exit_code)
            raise
        finally:
            drop_unsent_events(configured_api_url(os.environ) or "")


def start_prefect(options: JobOptions, screen: Screen) -> TemporaryServer | None:
    """Start a Prefect server for this run; check the API key first.

    Returns:
        The server, which may not respond yet; None where it cannot be started.

    Raises:
        BadRequest: There is no API key.
    """
    if not options.local:
        Connection.from_env(os.environ)
    try:
        server = TemporaryServer(os.environ)
    except OSError as error:
        report_no_record(screen, error)
        return None
    # Registered before Prefect is imported: exit handlers run in reverse order, so Prefect's own,
    # which send the last logs and events, run before the server ends.
    atexit.register(server.stop)
    # Prefect reads these when it is imported, before the server responds.
    for name, value in server.environment().items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    return server


def has_started(server: TemporaryServer | None, screen: Screen) -> bool:
    """Wait for the temporary server; return whether it responds. The run does not need it."""
    if server is None:
        return False
    try:
        with screen.waiting("starting a temporary Prefect server (PREFECT_API_URL avoids this)"):
            server.wait()
    except ServerUnavailable as error:
        report_no_record(screen, error)
        return False
    return True


def is_up(api_url: str, log: Callable[[str], None]) -> bool:
    """Return whether the configured server responds, allowing for a restart."""
    end = time.monotonic() + SERVER_RESTART_S
    while True:
        try:
            status = server_status(api_url, SERVER_RESTART_S)
        except OSError as error:
            why = str(getattr(error, "reason", error))
        else:
            # What stands before a server that is away answers for it: 502, 503 or 504.
            if status < 500:
                return True
            why = f"HTTP {status}"
        if time.monotonic() > end:
            log(
                f"the Prefect server at {api_url} does not respond ({why}); the run continues "
                "without a record in Prefect"
            )
            return False
        time.sleep(0.5)


def report_no_record(screen: Screen, why: Exception) -> None:
    """Report that this run has no record in Prefect."""
    screen.log(
        f"the temporary Prefect server did not start: {why}; the run continues without a record in "
        "Prefect (set PREFECT_API_URL to use your own server)"
    )


def import_the_flow() -> None:
    """Import Prefect and the flow in the background, which takes seconds."""
    # Prefect logs to its API only; the terminal is for the live display.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    # Stop retrying an unreachable server after seconds, not after more than a minute.
    os.environ.setdefault("PREFECT_CLIENT_MAX_RETRIES", "3")
    # An error here occurs again, and is reported, where the flow is imported.
    with suppress(Exception):
        importlib.import_module("mayfly.flows.batch_inference")


def confirmed(plan: Plan) -> bool:
    """Ask for confirmation of the plan."""
    what = "Create this endpoint" if plan.existing is None else f"Use {plan.existing.name}"
    answer = input(f"  {what} at ${plan.usd_per_h:.2f}/h for the batch? [y/N] ")
    return answer.strip().lower() in {"y", "yes"}


def run_flow(handle: RunHandle, screen: Screen, *, recorded: bool = True) -> int:
    """Run the flow in this process; return the exit code.

    The run's own outcome decides the code. Prefect's state does not, because it is lost when the
    Prefect server becomes unreachable.

    Args:
        handle: The handle with the confirmed plan, which is exactly what runs.
        recorded: Whether there is a Prefect server.
    """
    received = signals_so_far()
    progress = handle.progress
    announce_signals(received, handle)
    try:
        with screen.follow(progress):
            report = execute_run(handle, recorded=recorded)
    except KeyboardInterrupt:
        code = exit_code_after_signals(received, handle)
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
            check_torn_down(handle, error)
        raise
    code = 3 if report["rows"]["failed"] else 0
    screen.end(report, code)
    return code


def announce_signals(received: list[int], handle: RunHandle) -> None:
    """Let signals interrupt the run; the first one reports what happens next."""
    progress = handle.progress
    existing = handle.plan is not None and handle.plan.existing is not None

    def end(number: int, frame: FrameType | None) -> None:
        if not received:
            now = progress.snapshot()
            progress.log(signal_message(signal.Signals(number), now, existing=existing))
        received.append(number)
        interrupt_outside_imports(number, frame)

    for number in TERMINATION_SIGNALS:
        signal.signal(number, end)


def exit_code_after_signals(received: list[int], handle: RunHandle) -> int:
    """Return the exit code of a run ended by these signals."""
    return TeardownFailed.exit_code if handle.teardown_aborted else exit_code_of(received)


def signal_message(received: signal.Signals, now: Snapshot, *, existing: bool = False) -> str:
    """Return the message about what happens after a signal.

    Args:
        existing: Whether the run uses an endpoint that it did not create.
    """
    if not now.endpoint or now.step in (Step.REPORTING, Step.DONE):
        return f"{received.name}: ending; this run has no endpoint"
    end = (
        "leaving the existing endpoint as it was found, or as --teardown says"
        if existing
        else "tearing the endpoint down to end its billing"
    )
    return f"{received.name}: stopping; {end}. Every answer received so far is kept"


def check_torn_down(handle: RunHandle, error: TeardownFailed) -> None:
    """Check whether the guardian or a sweep has completed a teardown that failed here.

    Raises:
        TerminalError: No lease on this output is open: nothing bills any more.
    """
    assert handle.plan is not None  # noqa: S101 - of a run of this command
    assert handle.environment is not None  # noqa: S101
    output = str(paths_of(handle.plan.preview.job.output).folder.absolute())
    leases = handle.environment.leases.list()
    if not leases.damaged and all(lease.output != output for lease in leases.open):
        raise TerminalError(f"{error}; it has been torn down in the meantime") from error


def execute_run(handle: RunHandle, *, recorded: bool = True) -> dict[str, Any]:
    """Run the flow; return the report of the run, or raise its error.

    A failure of Prefect's record does not count.

    Args:
        recorded: Whether there is a Prefect server; without one the steps are plain calls.
    """
    from mayfly.flows.batch_inference import batch_inference, infer_batch  # noqa: PLC0415 - seconds
    from mayfly.orchestration.record import reason_of, run_unrecorded  # noqa: PLC0415

    assert handle.plan is not None  # noqa: S101 - of a run of this command
    job, progress = handle.plan.preview.job, handle.progress
    if not recorded:
        return run_unrecorded(lambda: infer_batch(job, handle))
    try:
        flow = batch_inference.with_handle(handle)
        # Prefect's client repeats what a busy server refuses.
        with waiting_quietly(
            f"waiting for the Prefect server at {configured_api_url(os.environ)} to take the run",
            lambda text: None if handle.started else progress.log(text),
        ):
            report = flow(**{name: getattr(job, name) for name in Job.model_fields})
        return cast("dict[str, Any]", report)
    except (MayflyError, KeyboardInterrupt):
        raise
    except Exception as error:
        if not handle.started:
            # Prefect has not taken the run: nothing was created, and no row was sent.
            progress.log(
                f"the Prefect server at {configured_api_url(os.environ)} did not take the run "
                f"({reason_of(error)}); the run continues without a record in Prefect"
            )
            return run_unrecorded(lambda: infer_batch(job, handle))
        if progress.error is not None:
            raise progress.error from error
        if progress.report is None:
            raise
        progress.log(f"Prefect has no record of the run's end: {reason_of(error)}")
        return progress.report
