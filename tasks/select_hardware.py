"""Step: select the hardware, and publish the plan before anything is spent."""

from prefect.artifacts import create_table_artifact

from mayfly.orchestration.artifacts import plan_line, plan_rows
from mayfly.orchestration.record import is_recorded, run_logger
from mayfly.planning.hardware import Placement
from mayfly.planning.plan import Plan, make_plan
from mayfly.reporting.progress import Step
from mayfly.runs.run import Run
from mayfly.tasks.step import set_message, step


@step("select hardware")
def select_hardware(run: Run) -> Placement | None:
    """Select the hardware for the job, cheapest available first; None with an existing endpoint.

    A confirmed plan is used unchanged.
    """
    run.progress.enter(Step.PLANNING)
    plan = run.plan
    if plan is None or plan.finished:
        # A part of a finished output may have been removed since.
        plan = make_plan(run.preview, run.plane, run.environment.folders)
    run.use_plan(plan)
    show_plan(plan)
    set_message(plan_line(plan))
    return plan.placement


def show_plan(plan: Plan) -> None:
    """Publish the plan as a table artifact."""
    if not is_recorded():
        return
    try:
        create_table_artifact(
            plan_rows(plan), key="batch-inference-plan", description=plan_line(plan)
        )
    except Exception as error:  # noqa: BLE001 - Prefect's record is for people
        run_logger().warning("Prefect does not show the plan: %s", error)
