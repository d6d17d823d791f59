"""The life of one endpoint and one batch, top to bottom."""

from typing import Any

from prefect import flow
from prefect.runtime import flow_run
from prefect.task_runners import ThreadPoolTaskRunner

from mayfly.models.errors import EndpointLost, HardwareUnavailable
from mayfly.models.job import Job, Limits, PromptSpec, Rental, Rows, Runner, Sampling, group
from mayfly.orchestration.cancellation import watch_for_cancel
from mayfly.orchestration.credentials import TogetherCredentials, credentials_env
from mayfly.orchestration.hooks import name_run, tear_down_after_the_run
from mayfly.orchestration.server_health import skip_retries_if_server_down
from mayfly.runs.run import begin
from mayfly.signals import defer_signals
from mayfly.tasks.approval import await_approval
from mayfly.tasks.calibrate import calibrate
from mayfly.tasks.endpoint import await_ready, create_endpoint, delete_endpoint, stop_endpoint
from mayfly.tasks.report import finished, write_report
from mayfly.tasks.select_hardware import select_hardware
from mayfly.tasks.shards import MOST_SHARDS, answer_shards


@flow(
    name="batch-inference",
    flow_run_name=name_run,
    task_runner=ThreadPoolTaskRunner(max_workers=MOST_SHARDS),  # type: ignore[arg-type]
    on_cancellation=[tear_down_after_the_run],
    on_crashed=[tear_down_after_the_run],
    on_failure=[tear_down_after_the_run],
)
def batch_inference(
    input: str,  # noqa: A002 - the word of the form and of the command line
    model: str,
    output: str,
    credentials: TogetherCredentials | None = None,
    prompt: PromptSpec = group(PromptSpec),
    sampling: Sampling = group(Sampling),
    rental: Rental = group(Rental),
    limits: Limits = group(Limits),
    rows: Rows = group(Rows),
    runner: Runner = "local",
) -> dict[str, Any]:
    """Send every row of a Parquet dataset through a model on an endpoint that lives as long.

    Args:
        input: Parquet file, folder or glob; local or a URI.
        model: Name of a dedicated model, such as Qwen/Qwen2.5-7B-Instruct.
        output: Folder for the answers: new, empty, or of this same job, which is then resumed.
        credentials: Together credentials to run with; unset, the worker's environment has the key.
        prompt: How a row becomes a request.
        sampling: Sampling settings, the same for every row.
        rental: Which endpoint to rent, and what becomes of it.
        limits: What the run may use.
        rows: Which rows are sent.
        runner: Where shards run: local is one process and keeps most endpoints full; processes is
            one for each core, for endpoints that answer thousands of rows a second and for slow
            templates or schemas. dask and ray are not built.
    """
    job = Job(
        input=input,
        model=model,
        output=output,
        prompt=prompt,
        sampling=sampling,
        rental=rental,
        limits=limits,
        rows=rows,
        runner=runner,
    )
    with (
        skip_retries_if_server_down(),
        credentials_env(credentials),
        begin(job, run=flow_run.id or "") as run,
        watch_for_cancel(run.progress.say),
    ):
        placement = select_hardware(run) if run.rows_left else None
        await_approval(run)
        placement = calibrate(run, placement)
        for offer in run.in_turn(placement):
            try:
                create_endpoint(run, offer)
                await_ready(run)
                answer_shards(run)
            except (HardwareUnavailable, EndpointLost) as error:
                run.move_on(error)
            finally:
                with defer_signals(run.progress.say, run.left_behind):
                    run.stop_sending()
                    stop_endpoint(run)
                    delete_endpoint(run)
        return finished(write_report(run))
