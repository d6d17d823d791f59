"""The flow `batch-inference`: the lifecycle of an endpoint and its batch, top to bottom."""

from typing import Any

from prefect import flow
from prefect.runtime import flow_run
from prefect.task_runners import ThreadPoolTaskRunner

from mayfly.models.errors import EndpointLost, HardwareUnavailable
from mayfly.models.job import Job, Limits, PromptSpec, Rental, Rows, Runner, Sampling
from mayfly.models.job_fields import parameter
from mayfly.models.job_types import Tags
from mayfly.orchestration.credentials import TogetherCredentials, environment_with
from mayfly.orchestration.flow_state import observe_state, resumable
from mayfly.orchestration.flow_tags import tag_flow_run
from mayfly.orchestration.hooks import name_run, tear_down_after_the_run
from mayfly.orchestration.one_line import credentials_of, ended_in_one_line, job_of
from mayfly.orchestration.run_handles import current_handle, with_handles
from mayfly.orchestration.server_health import skip_retries_if_server_down
from mayfly.runs.handle import RunHandle
from mayfly.runs.inference import MOST_SHARDS
from mayfly.runs.run import begin
from mayfly.tasks.approval import await_approval
from mayfly.tasks.calibrate import calibrate
from mayfly.tasks.endpoint import await_ready, create_endpoint, delete_endpoint, stop_endpoint
from mayfly.tasks.report import finished, write_report
from mayfly.tasks.select_hardware import select_hardware
from mayfly.tasks.shards import answer_shards, settle_shards


@with_handles
@flow(
    name="batch-inference",
    flow_run_name=name_run,
    task_runner=ThreadPoolTaskRunner(max_workers=MOST_SHARDS),  # type: ignore[arg-type]
    on_cancellation=[tear_down_after_the_run],
    on_crashed=[tear_down_after_the_run],
    on_failure=[tear_down_after_the_run],
    # The body validates, with an error message of one line.
    validate_parameters=False,
)
def batch_inference(
    input: str = parameter(Job, "input"),  # noqa: A002 - the name in the form and on the command line
    model: str = parameter(Job, "model"),
    output: str = parameter(Job, "output"),
    credentials: TogetherCredentials | None = None,
    prompt: PromptSpec = parameter(Job, "prompt"),
    sampling: Sampling = parameter(Job, "sampling"),
    rental: Rental = parameter(Job, "rental"),
    limits: Limits = parameter(Job, "limits"),
    rows: Rows = parameter(Job, "rows"),
    runner: Runner = parameter(Job, "runner"),
    dask: str | None = parameter(Job, "dask"),
    tags: Tags = parameter(Job, "tags"),
    report_url: str | None = parameter(Job, "report_url"),
) -> dict[str, Any]:
    """Send every row of a dataset through a model on an endpoint that lives as long as the batch.

    The descriptions in the form are those of the job's fields.

    Args:
        credentials: Together credentials block; if unset, the worker's environment has the API key.
    """
    handle = current_handle()
    parameters = {
        "input": input,
        "model": model,
        "output": output,
        "prompt": prompt,
        "sampling": sampling,
        "rental": rental,
        "limits": limits,
        "rows": rows,
        "runner": runner,
        "dask": dask,
        "tags": tags,
        "report_url": report_url,
    }

    handle.started = True

    def body() -> dict[str, Any]:
        job = job_of(parameters)
        if handle.environment is None:
            handle.environment = environment_with(credentials_of(credentials))
        return resumable(lambda: infer_batch(job, handle), log=handle.progress.log)

    return ended_in_one_line(body)


def infer_batch(job: Job, handle: RunHandle) -> dict[str, Any]:
    """Do what the flow does, inside a Prefect flow run or without one."""
    with (
        skip_retries_if_server_down(handle),
        begin(job, handle, run=flow_run.id or "") as run,
        observe_state(handle, every_s=run.timeouts.cancel_poll_s),
    ):
        tag_flow_run(job.tags)
        placement = select_hardware(run) if run.output.rows_left else None
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
                with run.signals_deferred():
                    run.stop()
                    stop_endpoint(run)
                    delete_endpoint(run)
            settle_shards(run)
        return finished(write_report(run))
